"""Files and directories that appear whole or not at all, whatever comes in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bulkhead.lib import atomicfile


def test_an_interrupt_right_after_the_directory_was_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal comes to whatever thread it likes, so the main thread cannot hold it back."""
    make = os.mkdir

    def make_and_interrupt(path: Path, mode: int) -> None:
        make(path, mode)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "mkdir", make_and_interrupt)

    with pytest.raises(KeyboardInterrupt), atomicfile.scratch_directory(tmp_path / "target"):
        raise AssertionError("the interrupt comes before the block")

    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_right_after_the_file_was_opened_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither half a file nor another name."""
    open_file = os.open

    def open_and_interrupt(path: Path, flags: int, mode: int) -> int:
        os.close(open_file(path, flags, mode))
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "open", open_and_interrupt)

    with pytest.raises(KeyboardInterrupt):
        atomicfile.write(tmp_path / "target", "new")

    assert list(tmp_path.iterdir()) == []
