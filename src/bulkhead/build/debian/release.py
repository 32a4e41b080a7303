"""The signed description of a suite: `InRelease`, and everything that is checked on it.

Nothing of it is believed before its signature is: only the text that
OpenPGP says was signed is parsed, never what surrounds it in the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import msgspec
import pysequoia

from bulkhead.build.debian import checked, deb822
from bulkhead.lib.dirs import repository_root
from bulkhead.model.errors import RemoteError, Untrusted, UserError

CLOCK_TOLERANCE = timedelta(hours=1)


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A verified Release file."""

    suite: str
    codename: str
    date: datetime
    sha256: str
    """Of the InRelease file."""
    architectures: tuple[str, ...]
    by_hash: bool
    not_automatic: bool
    """Nothing is taken from here unless it is asked for (experimental, backports)."""
    but_automatic_upgrades: bool
    all_included: bool
    """Indexes of an architecture hold the architecture-independent packages too."""
    files: dict[str, tuple[int, str]]
    """Size and SHA-256 by path."""


def certificates(keys: Sequence[str], *, where: str) -> list[pysequoia.Cert]:
    """Read OpenPGP certificates, binary or armoured.

    Args:
        keys: absolute paths, or names in the project's `image/keys`.
        where: the repository, for messages.

    Raises:
        UserError: there is none, or one cannot be read.
    """
    found: list[pysequoia.Cert] = []
    for key in keys:
        path = repository_root() / "image" / "keys" / key
        try:
            found += pysequoia.Cert.split_bytes(path.read_bytes())
        except OSError as error:
            raise UserError(f"key cannot be read: {error.strerror}", where=str(path)) from error
        except RuntimeError as error:
            raise UserError(f"is no OpenPGP key: {_line(error)}", where=str(path)) from error
    if not found:
        raise UserError(
            "a repository needs at least one key that signs it", where=f"repository {where}"
        )
    return found


def verify(
    data: bytes,
    certs: Sequence[pysequoia.Cert],
    *,
    suite: str,
    where: str,
    now: datetime | None = None,
) -> Release:
    """Check an InRelease file and return what it says.

    Args:
        data: the file.
        certs: the certificates of which one must have signed it.
        suite: suite or codename that was asked for.
        where: its URL, for messages.
        now: the time to judge dates by.

    Raises:
        Untrusted: not signed by `certs`, changed afterwards, expired, from
            the future, or for another suite.
        RemoteError: signed but unusable.
    """
    fields = deb822.first(_signed_text(data, certs, where))
    release = _parse(fields, hashlib.sha256(data).hexdigest(), where)
    _check_times(fields, release, now or datetime.now(UTC), where)
    wanted = suite.rstrip("/")
    # A flat repository ("path/") has no suite to be mistaken for.
    if not suite.endswith("/") and wanted not in (release.suite, release.codename):
        raise Untrusted(
            f"is for suite {release.suite!r} ({release.codename!r}), not for {wanted!r}: "
            "the mirror is wrong or someone exchanged it",
            where=where,
        )
    return release


def _signed_text(data: bytes, certs: Sequence[pysequoia.Cert], where: str) -> str:
    signers: list[str] = []

    def store(handles: list[str]) -> list[pysequoia.Cert]:
        signers.extend(handles)
        return list(certs)

    try:
        text = pysequoia.verify(bytes=data, store=store).bytes
    except RuntimeError as error:
        if not signers:
            raise Untrusted(f"is not a signed file: {_line(error)}", where=where) from error
        if {signer.lower()[-16:] for signer in signers} & _key_ids(certs):
            raise Untrusted(
                "its signature does not match: it was changed after signing, or the key "
                "is expired or revoked",
                where=where,
            ) from error
        raise Untrusted(
            f"is signed by other keys ({', '.join(signers)}) than those this repository may use",
            where=where,
            hint="if the archive changed its keys, update the repository's key files",
        ) from error
    if text is None:
        raise Untrusted("signs nothing", where=where)
    return text.decode(errors="replace")


def _key_ids(certs: Sequence[pysequoia.Cert]) -> set[str]:
    packets = (
        packet for cert in certs for packet in pysequoia.packet.PacketPile.from_bytes(bytes(cert))
    )
    return {packet.fingerprint[-16:].lower() for packet in packets if packet.fingerprint}


def _line(error: Exception) -> str:
    # Sequoia puts a stack trace into the message.
    return str(error).partition("\n")[0].rstrip(".")


def _parse(fields: dict[str, str], sha256: str, where: str) -> Release:
    try:
        return Release(
            suite=fields.get("Suite", ""),
            codename=fields.get("Codename", ""),
            date=_time(fields["Date"]),
            sha256=sha256,
            architectures=tuple(fields.get("Architectures", "").split()),
            by_hash=fields.get("Acquire-By-Hash") == "yes",
            not_automatic=fields.get("NotAutomatic") == "yes",
            but_automatic_upgrades=fields.get("ButAutomaticUpgrades") == "yes",
            all_included="all" not in fields.get("Architectures", "").split()
            or fields.get("No-Support-for-Architecture-all") == "Packages",
            files=_files(fields["SHA256"]),
        )
    except (KeyError, ValueError) as error:
        raise RemoteError(f"lacks something or is malformed: {error}", where=where) from error


def _files(text: str) -> dict[str, tuple[int, str]]:
    rows = (line.split() for line in text.splitlines() if line.strip())
    return {path: (checked.size(size), checked.sha256(digest)) for digest, size, path in rows}


def _time(text: str) -> datetime:
    """Read a date of RFC 5322.

    Raises:
        ValueError: it is none, or one that cannot be.
    """
    try:
        moment = parsedate_to_datetime(text)
        # In UTC at once: near the first or last year that alone can be too much.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (OverflowError, TypeError) as error:
        raise ValueError(f"{text[:50]!r} is no date") from error


def _check_times(fields: dict[str, str], release: Release, now: datetime, where: str) -> None:
    clock = f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC"
    if release.date > now + CLOCK_TOLERANCE:
        raise Untrusted(
            f"is dated in the future ({release.date:%Y-%m-%d %H:%M} UTC)",
            where=where, hint=f"{clock}; set it if that is wrong",
        )  # fmt: skip
    if "Valid-Until" in fields:
        try:
            until = _time(fields["Valid-Until"])
        except ValueError as error:
            raise RemoteError(f"malformed Valid-Until: {error}", where=where) from error
        if until < now:
            raise Untrusted(
                f"expired on {until:%Y-%m-%d %H:%M} UTC: the mirror is outdated, or someone "
                "holds back security updates",
                where=where, hint=f"{clock}; try another mirror with BULKHEAD_MIRROR",
            )  # fmt: skip
