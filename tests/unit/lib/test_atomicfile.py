"""Files and directories that appear whole or not at all, whatever comes in between."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from bulkhead.lib import atomicfile


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_right_after_the_directory_was_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """It waits until somebody is there to remove the directory."""
    make = tempfile.mkdtemp

    def make_and_signal(**arguments: str) -> str:
        made = make(**arguments)
        os.kill(os.getpid(), number)
        return made

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_signal)

    before = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), atomicfile.scratch_directory(tmp_path / "target"):
            raise AssertionError("the signal comes before the block")
    finally:
        signal.signal(number, before)

    assert list(tmp_path.iterdir()) == []
