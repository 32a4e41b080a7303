"""What an ELF file needs from others, read with pyelftools.

Three ways of needing: DT_NEEDED and PT_INTERP (System V ABI), and the
`.note.dlopen` notes by which programs declare the libraries that they load by
themselves (systemd.io/ELF_DLOPEN_METADATA).
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bulkhead.lib.decoding import decode_json

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

MAGIC = b"\x7fELF"
DLOPEN_NOTE = 0x407C0C0A


class _Note(msgspec.Struct):
    """One feature of a `.note.dlopen`; what else it says is passed over."""

    soname: tuple[str, ...] = ()


class Elf(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an ELF file that matters for the choice of libraries."""

    needed: tuple[str, ...] = ()
    interpreter: str | None = None
    soname: str | None = None
    runpath: tuple[str, ...] = ()
    dlopen: tuple[str, ...] = ()
    """Library names in the order of preference, over all of its notes."""


def read(path: Path) -> Elf | None:
    """Return what the file needs, or None when it is not an ELF file or a broken one."""
    from elftools.common.exceptions import ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            return None
        file.seek(0)
        try:
            return _describe(ELFFile(file))
        except (ELFError, ConstructError, ValueError, OverflowError):
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return None  # an offset that it names is before the file's start


def _describe(file: ELFFile) -> Elf:
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.segments import InterpSegment, NoteSegment

    tags = ("DT_NEEDED", "DT_RUNPATH", "DT_RPATH", "DT_SONAME")
    found: dict[str, list[str]] = {tag: [] for tag in tags}
    dlopen: list[str] = []
    interpreter = None
    for segment in file.iter_segments():
        if isinstance(segment, InterpSegment):
            interpreter = segment.get_interp_name()
        elif isinstance(segment, DynamicSegment):
            for tag in segment.iter_tags():
                # The attribute with the string is named after the tag.
                if tag.entry.d_tag in found:
                    text = getattr(tag, tag.entry.d_tag.removeprefix("DT_").lower())
                    found[tag.entry.d_tag].append(str(text))
        elif isinstance(segment, NoteSegment):
            for note in segment.iter_notes():
                # Notes that pyelftools does not know have a number for a type.
                if str(note["n_type"]) == str(DLOPEN_NOTE) and note["n_name"] == "FDO":
                    dlopen.extend(_names(note["n_descdata"]))
    runpath = [part for text in found["DT_RUNPATH"] + found["DT_RPATH"] for part in text.split(":")]
    return Elf(
        needed=tuple(found["DT_NEEDED"]), interpreter=interpreter, runpath=tuple(runpath),
        soname=next(iter(found["DT_SONAME"]), None), dlopen=tuple(dlopen),
    )  # fmt: skip


def _names(description: bytes) -> list[str]:
    """Return the names in a note; none where it is no list of features."""
    try:
        items = decode_json(description.rstrip(b"\0"), list[_Note])
    except msgspec.DecodeError:
        return []
    return [name for item in items for name in item.soname]
