"""What the settings want, what runs, and what is on the ESP. Reads only."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bulkhead.host.parameters import entries, uki
from bulkhead.host.parameters.places import Places
from bulkhead.host.parameters.plan import Facts
from bulkhead.host.parameters.uki import Uki
from bulkhead.model.boot import Parameters
from bulkhead.model.errors import HostError

log = logging.getLogger(__name__)

ENTRIES = "loader/entries"
IMAGES = "EFI/Linux"
_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
"""The firmware's own variables (UEFI 3.3)."""
_LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
"""The boot loader's (Boot Loader Interface)."""
_STARTED = re.compile(r"\\EFI\\Linux\\([^\\/]+)", re.IGNORECASE)


def gather(places: Places) -> Facts:
    """Look at everything.

    Raises:
        HostError: something is there and cannot be read.
    """
    try:
        wanted = _wanted(places.wanted)
        secure = _variable(places, f"SecureBoot-{_GLOBAL}") == b"\x01"
        started = (_variable(places, f"StubImageIdentifier-{_LOADER}") or b"").decode("utf-16-le")
        # Also a stub that the firmware starts by itself says what it is; then nobody counts tries.
        loader = _variable(places, f"LoaderInfo-{_LOADER}") is not None
        image = _STARTED.fullmatch(started.rstrip("\0")) if loader else None
        known = entries.image_of(image[1]) if image else None
        return Facts(
            wanted=wanted,
            command_line=places.command_line.read_text(),
            secure_boot=secure,
            image=known[0] if known else None,
            images=dict(_images(places.esp / IMAGES)),
            present=tuple(_present(places.esp / ENTRIES)),
        )
    except (OSError, UnicodeDecodeError) as error:
        raise HostError(f"cannot look at the boot loader's entries: {error}") from error


def _wanted(path: Path) -> Parameters | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Parameters)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise HostError(f"is not what settings are made into: {error}", where=str(path)) from error


def _variable(places: Places, name: str) -> bytes | None:
    """Return a variable's value; None if there is none, or no such firmware."""
    try:
        # Four bytes of attributes come first (Documentation/filesystems/efivarfs.rst).
        return (places.variables / name).read_bytes()[4:]
    except FileNotFoundError:
        return None


def _images(directory: Path) -> Iterator[tuple[str, Uki]]:
    for path in _files(directory):
        known = entries.image_of(path.name)
        if known is None or not known[1]:
            continue
        try:
            yield known[0], uki.read(path)
        except HostError as error:
            # Of the other slot perhaps, or somebody else's.
            log.warning("%s", error)


def _present(directory: Path) -> Iterator[entries.Entry]:
    for path in _files(directory):
        entry = entries.parse(path.name)
        if entry is not None:
            yield entry


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        return []
