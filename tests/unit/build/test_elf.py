"""Reading ELF files, whole and damaged."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest

from bulkhead.build import elf, initrd
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
    """Whatever its headers say, there is an answer."""
    path = tmp_path / "x.so"
    answers = []
    for data in damaged(60):
        path.write_bytes(data)
        answers.append(elf.read(path))

    assert None in answers
    assert any(answers)


@pytest.mark.slow
def test_a_damaged_module_is_refused() -> None:
    """A library is no module, and neither is what is left of one."""
    for data in damaged(60):
        with pytest.raises(UserError, match=r"x\.ko: not a kernel module"):
            initrd.read_module(data, where="x.ko")
