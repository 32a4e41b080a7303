"""Named pipes between containerd's shim and this program, without threads."""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import termios
from collections.abc import AsyncIterator, Callable

CHUNK = 64 * 1024


async def read(descriptor: int) -> AsyncIterator[bytes]:
    """Yield what comes out of a pipe until all writers have closed it."""
    loop = asyncio.get_running_loop()
    while True:
        await _ready(descriptor, loop.add_reader, loop.remove_reader)
        try:
            data = os.read(descriptor, CHUNK)
        except BlockingIOError:
            continue
        if not data:
            return
        yield data


async def write(descriptor: int, data: bytes) -> None:
    """Write all of `data`, waiting while the pipe is full."""
    loop = asyncio.get_running_loop()
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            await _ready(descriptor, loop.add_writer, loop.remove_writer)


async def drained(descriptor: int, *, timeout_s: float) -> None:
    """Wait until the other side has taken everything, or `timeout_s` has passed.

    Linux has no event for "empty", so this asks every few milliseconds.
    """
    end = asyncio.get_running_loop().time() + timeout_s
    count = array.array("i", [0])
    while asyncio.get_running_loop().time() < end:
        fcntl.ioctl(descriptor, termios.FIONREAD, count)
        if count[0] == 0:
            return
        await asyncio.sleep(0.005)


async def _ready(
    descriptor: int,
    add: Callable[[int, Callable[[], None]], None],
    remove: Callable[[int], bool],
) -> None:
    waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not waiting.done():
            waiting.set_result(None)

    add(descriptor, wake)
    try:
        await waiting
    finally:
        remove(descriptor)
