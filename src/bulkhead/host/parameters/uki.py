"""What a unified kernel image says about itself: sections of a PE file.

Read from the ESP, where without Secure Boot anybody could have put it, so
nothing in it is believed beyond its form. (The firmware starts it all the same:
whoever can write to the ESP needs no bug of ours.)
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

import msgspec

from bulkhead.model.errors import HostError

_HEADERS = 4096
"""Bytes in which all headers are."""
_SECTION_LIMIT = 64 * 1024
_COFF = struct.Struct("<4sHHIIIHH")
_SECTION = struct.Struct("<8sIIII")
_SECTION_SIZE = 40
_LINE = re.compile(r"[\x20-\x7e]+")


class Uki(msgspec.Struct, frozen=True, kw_only=True):
    """What the boot loader goes by, and the command line."""

    line: str
    sort_key: str
    version: str
    title: str


def read(path: Path) -> Uki:
    """Read an image.

    Raises:
        HostError: it cannot be read, or is none.
    """
    try:
        found = _sections(path, (".cmdline", ".osrel"))
        line = found[".cmdline"].decode().strip("\0\n ")
        release = _os_release(found[".osrel"].decode())
    except (OSError, struct.error, KeyError, UnicodeDecodeError) as error:
        raise HostError(f"cannot be read as a kernel image: {error}", where=str(path)) from error
    if not _LINE.fullmatch(line):
        raise HostError("its command line is not one line of text", where=str(path))
    # As systemd-boot has it for the image itself (src/boot/boot.c, boot_entry_add_type2).
    return Uki(
        line=line,
        sort_key=release.get("IMAGE_ID") or release.get("ID", ""),
        version=release.get("IMAGE_VERSION") or release.get("VERSION_ID", ""),
        title=release.get("PRETTY_NAME", path.stem),
    )


def _sections(path: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    with path.open("rb") as file:
        head = file.read(_HEADERS)
        (start,) = struct.unpack_from("<I", head, 0x3C)
        magic, _, count, _, _, _, optional, _ = _COFF.unpack_from(head, start)
        if head[:2] != b"MZ" or magic != b"PE\0\0":
            raise KeyError("it is no PE file")
        found = {}
        first = start + _COFF.size + optional
        for at in range(first, first + count * _SECTION_SIZE, _SECTION_SIZE):
            raw, used, _, stored, offset = _SECTION.unpack_from(head, at)
            name = raw.rstrip(b"\0").decode()
            if name in names and name not in found:
                file.seek(offset)
                found[name] = file.read(min(used, stored, _SECTION_LIMIT))
    return found


def _os_release(text: str) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    values = {name: value.strip("\"'") for name, value in pairs}
    return {name: value for name, value in values.items() if _LINE.fullmatch(value)}
