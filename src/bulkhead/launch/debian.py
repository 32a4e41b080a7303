"""Fetches a pinned .deb and takes files out of it, with the standard library alone.

Only for the launcher: the builder has a full and defensive reader of its own
in `build.debian`, which needs installed packages.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import tarfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bulkhead.lib import mirrors
from bulkhead.model.errors import RemoteError, Untrusted

TIMEOUT_S = 20


def fetch(pins: Path, name: str, prefix: str, folder: Path) -> list[Path]:
    """Fetch the package that `pins` calls `name`; put its files below `prefix` into `folder`.

    Only the last part of each file's path is kept.

    Raises:
        RemoteError: no mirror has it.
        Untrusted: a mirror's copy is not the pinned one, or has no such file.
    """
    pin = tomllib.loads(pins.read_text())[name]
    raw = _download(pin["path"], pin["sha256"], pin["size"], pin["snapshot"])
    found = []
    with tarfile.open(fileobj=io.BytesIO(_data(raw)), mode="r:*") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is None or not member.name.removeprefix("./").startswith(prefix):
                continue
            path = folder / Path(member.name).name
            path.write_bytes(file.read())
            found.append(path)
    if not found:
        raise Untrusted(f"the package has no file below {prefix!r}", where=pin["path"])
    return found


def _download(path: str, sha256: str, size: int, date: str) -> bytes:
    problems = []
    for base in [*mirrors.candidates("debian"), mirrors.snapshot("debian", date)]:
        url = f"{base}/{path}"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310  # http or https, by lib.mirrors
                raw: bytes = answer.read(size + 1)
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            problems.append(f"    {url}: {getattr(error, 'reason', None) or error}")
            continue
        if hashlib.sha256(raw).hexdigest() == sha256:
            return raw
        problems.append(f"    {url}: not the pinned file (SHA-256 differs)")
    raise RemoteError(
        "this Python has no pip, and Debian's could not be fetched:\n" + "\n".join(problems),
        hint="install pip (python3-pip), or name a mirror of Debian in BULKHEAD_MIRROR",
    )


def _data(deb: bytes) -> bytes:
    """Return the `data.tar` member of a .deb (an ar(5) archive)."""
    for name, content in _members(deb):
        if name.startswith("data.tar"):
            return content
    raise Untrusted("the package has no data.tar")


def _members(deb: bytes) -> Iterator[tuple[str, bytes]]:
    position = len(b"!<arch>\n")
    while position + 60 <= len(deb):
        header = deb[position : position + 60]
        size = int(header[48:58])
        position += 60
        yield header[:16].decode().rstrip(" /"), deb[position : position + size]
        position += size + size % 2
