"""`bulkhead check`: the tools that it starts."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from bulkhead.cli import check
from bulkhead.launch import termination

WAITS = """\
import pathlib, sys, time
try:
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(60)
except KeyboardInterrupt:
    pathlib.Path(sys.argv[2]).touch()
"""


def test_a_tools_words_are_kept_whatever_stream_they_are_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And whether it is content."""
    words = "import sys; print('out'); sys.stdout.flush(); sys.stderr.write('err\\n'); sys.exit(3)"
    monkeypatch.setitem(check.CHECKS, "words", ("-c", words))

    (outcome,) = check.run_checks(["words"])

    assert (outcome.passed, outcome.output) == (False, "out\nerr")


def test_tools_end_with_whoever_started_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM comes to this process alone; unlike Ctrl-C, its tools hear nothing of it."""
    begun, told = tmp_path / "begun", tmp_path / "told"
    monkeypatch.setitem(check.CHECKS, "waits", ("-c", WAITS, str(begun), str(told)))

    def stop() -> None:
        while not begun.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with termination.as_interrupt():
            threading.Thread(target=stop, daemon=True).start()
            with pytest.raises(termination.Terminated):
                check.run_checks(["waits"])
    finally:
        signal.signal(signal.SIGTERM, before)

    assert told.exists()
