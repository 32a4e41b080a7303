"""What a shared library offers to others: its dynamic symbols, with their versions.

Read by hand from the tables of the ELF file (System V ABI, "Symbol Table";
LSB Core, "Symbol Versioning"): a big library has thousands of symbols, and an
object for each of them costs seconds.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

_SYMBOL = struct.Struct("<IBBHQQ")
_LOCAL, _FUNCTION, _UNDEFINED, _ABSOLUTE = 0, 2, 0, 0xFFF1
_NOT_DEFAULT = 0x8000


class Export(msgspec.Struct, frozen=True, order=True):
    """One symbol that a library defines."""

    name: str
    version: str
    """Empty where the library has none."""
    function: bool = True
    """False for data, which cannot be forwarded by a jump."""
    default: bool = True
    """False for an old version beside a newer one of the same name."""

    def __str__(self) -> str:
        kind = "" if self.function else " (data)"
        return f"{self.name}@{self.version}{kind}" if self.version else f"{self.name}{kind}"


def read(path: Path) -> frozenset[Export]:
    """Return all that the library at `path` exports, the names of the versions themselves left out.

    Nothing for what is not a 64-bit ELF library, and for a broken one.
    """
    from elftools.common.exceptions import ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as stream:
            file = ELFFile(stream)
            return frozenset(_exports(file)) if file.elfclass == 64 else frozenset()
    except (ELFError, ConstructError, ValueError, OverflowError, struct.error):
        return frozenset()
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return frozenset()  # an offset that it names is before the file's start


def _exports(file: ELFFile) -> Iterator[Export]:
    symbols, names, indexes = (
        _section(file, name) for name in (".dynsym", ".dynstr", ".gnu.version")
    )
    versions = _versions(file)
    numbers = struct.unpack(f"<{len(indexes) // 2}H", indexes) if indexes else repeat(1)
    for fields, index in zip(_SYMBOL.iter_unpack(symbols), numbers, strict=False):
        name_at, info, _, section, _, _ = fields
        if info >> 4 == _LOCAL or section in (_UNDEFINED, _ABSOLUTE):
            continue
        yield Export(
            name=names[name_at : names.index(b"\0", name_at)].decode(),
            version=versions.get(index & ~_NOT_DEFAULT, ""),
            function=info & 0xF == _FUNCTION,
            default=not index & _NOT_DEFAULT,
        )


def _section(file: ELFFile, name: str) -> bytes:
    section = file.get_section_by_name(name)
    return b"" if section is None else bytes(section.data())


def _versions(file: ELFFile) -> dict[int, str]:
    """Return the names of the versions that the library defines; 0 and 1 stand for none."""
    from elftools.elf.gnuversions import GNUVerDefSection

    section = file.get_section_by_name(".gnu.version_d")
    if not isinstance(section, GNUVerDefSection):
        return {}
    found = {
        int(version["vd_ndx"]): str(next(names).name) for version, names in section.iter_versions()
    }
    return {index: name for index, name in found.items() if index > 1}
