"""Reading and bounding what containers write.

containerd's shim appends both streams of a container to one file, without a
process of ours in between. `bound` keeps each file small; it is run by a
timer, which does nothing on a node without containers.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from bulkhead.host.containers.places import Places

log = logging.getLogger(__name__)

LARGEST = 16 * 1024 * 1024
KEPT = 8 * 1024 * 1024
CHUNK = 64 * 1024
POLL_S = 0.2
"""inotify would save these looks, but only while somebody follows a log."""

_COLLAPSE_RANGE = 0x08
_ALIGNMENT = 64 * 1024  # a multiple of every file system's block


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


def bound(directory: Path, *, largest: int = LARGEST, kept: int = KEPT) -> list[str]:
    """Shorten every log that is longer than `largest` to about `kept`; return their names.

    The beginning is cut out of the file in place (fallocate(2),
    FALLOC_FL_COLLAPSE_RANGE): whoever appends to it goes on undisturbed and
    nothing is lost between a copy and a truncation.
    """
    shortened = []
    for path in sorted(directory.glob("*.log")):
        size = path.stat().st_size
        if size > largest:
            _cut(path, (size - kept) // _ALIGNMENT * _ALIGNMENT)
            shortened.append(path.stem)
    return shortened


def _cut(path: Path, length: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mode, offset = ctypes.c_int(_COLLAPSE_RANGE), ctypes.c_int64(0)
        if libc.fallocate(descriptor, mode, offset, ctypes.c_int64(length)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


def main(argv: Sequence[str]) -> int:
    """Bound the logs of this node."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if names := bound(Places().logs):
            log.info("shortened: %s", " ".join(names))
    except OSError:
        log.exception("cannot bound a log")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
