"""Where this machine gets Debian's archive from.

Locks name paths below an archive's root, never a host; this module turns the
archive's name into URLs to try, nearest first: what the environment says, the
mirrors that the machine's own apt configuration names (so a company's mirror
is used without being told), and Debian's public servers last.

Standard library only: the launcher calls it before anything is installed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

PUBLIC = {
    "debian": "http://ftp.debian.org/debian",
    "debian-security": "http://security.debian.org/debian-security",
}
VARIABLES = {"debian": "BULKHEAD_MIRROR", "debian-security": "BULKHEAD_SECURITY_MIRROR"}
SNAPSHOT = "https://snapshot.debian.org/archive"
APT = Path("/etc/apt")


def candidates(
    archive: str, *, environment: Mapping[str, str] | None = None, apt: Path = APT
) -> list[str]:
    """Return the URLs of `archive` ("debian" or "debian-security") in the order to try them.

    Without a trailing slash, no URL twice. `BULKHEAD_MIRROR` and
    `BULKHEAD_SECURITY_MIRROR`, when set, are the only ones.
    """
    variables = os.environ if environment is None else environment
    if own := variables.get(VARIABLES[archive]):
        return [own.rstrip("/")]
    found = [uri for uri, kind in apt_archives(apt) if kind == archive]
    return list(dict.fromkeys([*found, PUBLIC[archive]]))


def snapshot(archive: str, date: str) -> str:
    """Return the URL of `archive` as it was at `date` (ISO 8601, UTC) in Debian's own archive of the past."""
    stamp = date.replace("-", "").replace(":", "").removesuffix("Z").removesuffix("+0000")
    return f"{SNAPSHOT}/{archive}/{stamp}Z"


def apt_archives(apt: Path = APT) -> Iterator[tuple[str, str]]:
    """Yield (URL, archive) of all Debian archives that the apt configuration below `apt` names.

    Unreadable or odd files are passed over: they are somebody else's, and
    there is a default.
    """
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        entries = _stanzas(text) if path.suffix == ".sources" else _lines(text)
        for uris, suites, components in entries:
            for uri in uris:
                if kind := _archive_of(uri, suites, components):
                    yield uri.rstrip("/"), kind


def _lines(text: str) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """Read the one-line format of sources.list(5)."""
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words or words[0] != "deb":
            continue
        words = words[1:]
        if words and words[0].startswith("["):
            while words and not words.pop(0).endswith("]"):
                pass
        if len(words) >= 2:
            yield words[:1], words[1:2], words[2:]


def _stanzas(text: str) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """Read the deb822 format of sources.list(5)."""
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in plain.split("\n\n"):
        fields: dict[str, list[str]] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields.setdefault(name, []).extend(line.split())
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.lower()
                fields[name] = value.split()
        enabled = fields.get("enabled", ["yes"])[0].lower() not in ("no", "false", "0")
        if enabled and "deb" in fields.get("types", []):
            yield fields.get("uris", []), fields.get("suites", []), fields.get("components", [])


def _archive_of(uri: str, suites: list[str], components: list[str]) -> str | None:
    """Return which of Debian's archives `uri` mirrors, or None for anything else.

    A mirror may have any host, but it keeps the archive's directory name;
    other people's repositories "for Debian" have no `main` component there.
    """
    scheme, _, rest = uri.partition("://")
    if scheme not in ("http", "https") or "main" not in components:
        return None
    last = rest.rstrip("/").rpartition("/")[2].lower()
    if "debian" not in last:
        return None
    if "security" in last or any("security" in suite for suite in suites):
        return "debian-security"
    return "debian"
