"""Reading what containers write.

containerd's shim appends both streams of a container to one file, without a
process of ours in between; `shorten.py` keeps that file short.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

from bulkhead.host.containers.shorten import MARK_SIZE, first_line

CHUNK = 64 * 1024
POLL_S = 0.2
"""inotify would save these looks, but only while somebody follows a log."""


async def read(
    path: Path,
    *,
    tail: int | None,
    follow: Callable[[], Awaitable[bool]] | None,
) -> AsyncIterator[bytes]:
    """Yield a log's bytes.

    Args:
        path: the file; it need not exist.
        tail: only this many lines from the end, and what follows them.
        follow: wait for more while this says that more may come.
    """
    position = _start(path, tail)
    last = False
    while True:
        data, position = _chunk(path, position)
        if data:
            yield data
            last = False
        elif follow is None or last:
            return
        else:
            # Once more after the end was told: the last words may just have been written.
            last = not await follow()
            await asyncio.sleep(POLL_S)


def _chunk(path: Path, position: int) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < position:  # it was shortened meanwhile
                position = max(0, size - (position - size))
            file.seek(0)
            position = max(position, first_line(file.read(MARK_SIZE)))
            file.seek(position)
            data = file.read(CHUNK)
            return data, position + len(data)
    except FileNotFoundError:
        return b"", 0


def _start(path: Path, tail: int | None) -> int:
    """Return where the last `tail` lines begin."""
    if tail is None:
        return 0
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            # The newline that ends the last line begins no other.
            return _line_start(file, size - 1, tail) if tail else size
    except FileNotFoundError:
        return 0


def _line_start(file: BinaryIO, end: int, lines: int) -> int:
    """Return the position after the `lines`-th newline before `end`, counted backwards."""
    position = max(end, 0)
    while position > 0:
        step = min(CHUNK, position)
        position -= step
        file.seek(position)
        block = file.read(step)
        found = len(block)
        while (found := block.rfind(b"\n", 0, found)) >= 0:
            lines -= 1
            if lines == 0:
                return position + found + 1
    return 0
