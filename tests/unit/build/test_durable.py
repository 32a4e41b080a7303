"""Directories that a power cut does not leave half-made."""

from __future__ import annotations

import ctypes
import errno
from pathlib import Path

import pytest

from bulkhead.build import durable


class Libc:
    """Stands for the C library: remembers what was there when the disk was written out."""

    def __init__(self, target: Path, *, error: int = 0) -> None:
        self._target = target
        self._error = error
        self.seen: list[tuple[bool, list[str]]] = []

    def syncfs(self, _descriptor: int) -> int:
        """Write nothing out, or fail."""
        inside = sorted(path.name for path in self._target.parent.glob(".*/*"))
        self.seen.append((self._target.exists(), inside))
        ctypes.set_errno(self._error)
        return -1 if self._error else 0


def test_the_bytes_are_on_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is written out once: after the last file, before the directory is called what it is."""
    target = tmp_path / "made"
    libc = Libc(target)
    monkeypatch.setattr(durable, "_libc", libc)

    with durable.new_directory(target) as scratch:
        (scratch / "file").write_text("x")

    assert libc.seen == [(False, ["file"])]
    assert (target / "file").read_text() == "x"


def test_a_disk_that_cannot_be_written_makes_no_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails only now is an error, and nothing is left."""
    target = tmp_path / "made"
    monkeypatch.setattr(durable, "_libc", Libc(target, error=errno.EIO))

    with pytest.raises(OSError, match="Input/output error"), durable.new_directory(target):
        pass

    assert list(tmp_path.iterdir()) == []
