"""Reading ELF files, whole and damaged."""

from __future__ import annotations

import importlib.util
import random
import struct
from pathlib import Path

import pytest

from bulkhead.build import elf, elf_exports, initrd
from bulkhead.model.errors import UserError

_SPEC = importlib.util.find_spec("msgspec._core")
assert _SPEC is not None
assert _SPEC.origin is not None
LIBRARY = Path(_SPEC.origin)


def damaged(count: int) -> list[bytes]:
    """Return a library with some bytes changed, mostly in its headers."""
    whole = LIBRARY.read_bytes()
    dice = random.Random(5)
    found = []
    for _ in range(count):
        data = bytearray(whole)
        end = dice.choice([64, 1024, 4096, len(data)])
        for _ in range(dice.randrange(1, 9)):
            data[dice.randrange(4, end)] = dice.choice([0, 1, 0x7F, 0x80, 0xFF])
        found.append(bytes(data))
    return found


def test_a_library_names_what_it_needs() -> None:
    """By DT_NEEDED, and a library has no interpreter."""
    found = elf.read(LIBRARY)

    assert found is not None
    assert "libc.so.6" in found.needed
    assert found.interpreter is None


@pytest.mark.slow
def test_a_damaged_file_is_read_or_is_none(tmp_path: Path) -> None:
    """Whatever its headers say, there is an answer; the same for what it exports."""
    path = tmp_path / "x.so"
    answers, exports = [], []
    for data in damaged(60):
        path.write_bytes(data)
        answers.append(elf.read(path))
        exports.append(elf_exports.read(path))

    assert None in answers
    assert any(answers)
    assert frozenset() in exports
    assert any(exports)


def with_note(description: bytes) -> bytes:
    """Return an ELF file that is only a `.note.dlopen`."""
    note = struct.pack("<III", 4, len(description), elf.DLOPEN_NOTE) + b"FDO\0"
    note += description + bytes(-len(description) % 4)
    start = elf.MAGIC + bytes([2, 1, 1]) + bytes(9)
    start += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return start + struct.pack("<IIQQQQQQ", 4, 4, 120, 120, 120, len(note), len(note), 4) + note


@pytest.mark.parametrize(
    ("description", "names"),
    [
        (b'[{"soname": ["a.so", "b.so"], "priority": "required"}, {"feature": "x"}]\0',
         ("a.so", "b.so")),
        (b'["x"]', ()),
        (b"5", ()),
        (b'[{"soname": null}]', ()),
        (b'[{"soname": 5}]', ()),
        (b'[{"soname": [5, {}]}]', ()),
        (b"[" * 100_000, ()),
        (b'[{"x": ' + b"[" * 100_000, ()),
        (b"\xff", ()),
        (b'[{"soname": ["\xff"]}]', ()),
    ],
)  # fmt: skip
def test_a_broken_note_names_nothing(
    tmp_path: Path, description: bytes, names: tuple[str, ...]
) -> None:
    """The rest of the file counts: a note is a wish, and may be anybody's."""
    path = tmp_path / "x.so"
    path.write_bytes(with_note(description))

    assert elf.read(path) == elf.Elf(dlopen=names)


def test_an_offset_before_the_file_is_a_broken_library(tmp_path: Path) -> None:
    """The system refuses to go there, which is no error of its own."""
    data = bytearray(LIBRARY.read_bytes())
    data[40:48] = b"\xff" * 8  # e_shoff
    path = tmp_path / "x.so"
    path.write_bytes(data)

    assert elf_exports.read(path) == frozenset()


@pytest.mark.slow
def test_a_damaged_module_is_refused() -> None:
    """A library is no module, and neither is what is left of one."""
    for data in damaged(60):
        with pytest.raises(UserError, match=r"x\.ko: not a kernel module"):
            initrd.read_module(data, where="x.ko")
