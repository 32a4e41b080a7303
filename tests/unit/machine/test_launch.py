"""What a machine says of its start, read from the FIFO that it comes by."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.machine import files, launch, process

ANSWERS = "ActiveEnterTimestampMonotonic=16089535\n"
SLOT = "slot b, root vda5, verity vda4\n"
OVER = "Version=257.13-1~deb13u1\nUserspaceTimestampMonotonic=4208000\nNFailedUnits=1\n"


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[int]:
    """Return the end at which the machine writes."""
    os.mkfifo(tmp_path / files.READY_OUT)
    end = os.open(tmp_path / files.READY_OUT, os.O_RDWR)
    yield end
    os.close(end)


def wait(tmp_path: Path, last: str) -> dict[str, str]:
    """Wait for a machine that this process plays."""
    us = process.identify(os.getpid())
    return launch.wait_until_ready(tmp_path, us, timeout_s=10, last=last)


def test_containers_can_run_before_all_is_said(tmp_path: Path, fifo: int) -> None:
    """Who waits for containerd goes on at once; the slot is there for who asks later."""
    os.write(fifo, ANSWERS.encode())

    assert wait(tmp_path, launch.READY_KEY) == {launch.READY_KEY: "16089535"}

    os.write(fifo, SLOT.encode())

    assert launch.running_slot(tmp_path, timeout_s=10) == "b"


def test_nothing_is_lost_that_was_said_before_anybody_listened(tmp_path: Path, fifo: int) -> None:
    """A demo image takes longer to build than a machine to start: all lines come at once."""
    os.write(fifo, (ANSWERS + SLOT + OVER).encode())

    said = wait(tmp_path, launch.LAST_KEY)

    assert (said[launch.SLOT], said[launch.LAST_KEY]) == ("b", "1")


def test_a_machine_that_has_not_said_its_slot_has_none_yet(tmp_path: Path, fifo: int) -> None:
    """Nobody waits longer than was said."""
    os.write(fifo, b"slot")

    assert launch.running_slot(tmp_path, timeout_s=0.01) is None
