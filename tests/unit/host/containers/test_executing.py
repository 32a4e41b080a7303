"""Processes in a running container, with processes of this machine."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import pytest

from bulkhead.host.containers.containerd import NotFound
from bulkhead.host.containers.executing import execute
from bulkhead.model.containers import ExecRequest
from tests.support.shim import OneContainer


def descriptors() -> int:
    """Return how many descriptors are open."""
    return len(os.listdir("/proc/self/fd"))


def test_a_refused_process_leaves_nothing_open(tmp_path: Path) -> None:
    """Its pipes were made before containerd was asked."""

    async def check() -> None:
        engine = OneContainer(tmp_path)
        engine.shim.refuses = True
        before = descriptors()
        with pytest.raises(NotFound):
            async with execute(engine, "box", ExecRequest(command=("cat",), stdin=True)):
                pass

        assert descriptors() == before

    asyncio.run(check())


def test_input_that_nobody_took_leaves_nothing_open(tmp_path: Path) -> None:
    """The process ends while its client waits for it to take the rest."""

    async def check() -> None:
        engine = OneContainer(tmp_path)
        before = descriptors()
        request = ExecRequest(command=("sleep", "60"), stdin=True)
        async with execute(engine, "box", request) as running:
            await running.write(b"unread")
            closing = asyncio.create_task(running.close_stdin())
            await asyncio.sleep(0)
            closing.cancel()
            with suppress(asyncio.CancelledError):
                await closing

        assert descriptors() == before

    asyncio.run(check())


def test_input_after_the_end_of_input_is_dropped(tmp_path: Path) -> None:
    """A client that says so twice, or goes on, does no harm."""

    async def check() -> int:
        engine = OneContainer(tmp_path)
        request = ExecRequest(command=("head", "-c", "5"), stdin=True)
        async with execute(engine, "box", request) as running:
            await running.write(b"taken")
            await running.close_stdin()
            await running.close_stdin()
            await running.write(b"dropped")
            return await running.wait()

    assert asyncio.run(check()) == 0
