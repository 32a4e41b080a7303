"""Processes that are told apart from others with the same number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import msgspec
import pytest

from bulkhead.machine import process


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that waits to be ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        yield running
        running.kill()


def test_knows_a_running_process(child: subprocess.Popen[bytes]) -> None:
    """A process is alive under its own identity."""
    identity = process.identify(child.pid)

    assert process.is_alive(identity)
    assert not process.wait_for_end(identity, timeout_s=0)


@pytest.mark.parametrize("field", ["started", "boot"])
def test_another_process_with_the_same_number_is_left_alone(
    child: subprocess.Popen[bytes], field: str
) -> None:
    """A recorded number that was given to somebody else is neither alive nor signalled."""
    identity = process.identify(child.pid)
    stale = msgspec.structs.replace(identity, **{field: 0 if field == "started" else "other"})

    process.send_signal(stale, signal.SIGKILL)

    assert not process.is_alive(stale)
    assert process.is_alive(identity)


def test_a_zombie_has_ended(child: subprocess.Popen[bytes]) -> None:
    """A process that ended counts as ended before its parent has asked."""
    identity = process.identify(child.pid)

    process.send_signal(identity, signal.SIGKILL)

    assert process.wait_for_end(identity, timeout_s=10)
    assert not process.is_alive(identity)


def test_nobody_has_this_number() -> None:
    """A number beyond all others belongs to nobody."""
    with pytest.raises(ProcessLookupError):
        process.identify(2**22 + 1)

    ours = process.identify(os.getpid())
    assert not process.is_alive(msgspec.structs.replace(ours, pid=2**22 + 1))
