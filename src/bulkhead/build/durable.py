"""Directories of the cache that survive a power cut whole, or not at all.

What is in the cache is believed later, by its name alone. A rename may reach the disk before the
bytes of the files in the directory do; after a power cut they would be empty, or zeros. So all of
the file system is written out first, by syncfs(2): an fsync(2) for each of a package's files takes
many times as long. This is the one file of the builder that makes a system call by hand.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bulkhead.lib import atomicfile

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Be `atomicfile.new_directory`, and have the bytes on the disk before the name.

    After a power cut the directory is there with all that was written in the block, or it is not
    there and has to be made again; what is left of it begins with a dot.

    Raises:
        OSError: also for a write that failed only now, such as for want of space (Linux 5.8).
    """
    with atomicfile.new_directory(path) as scratch:
        yield scratch
        _write_out(scratch)


def _write_out(path: Path) -> None:
    """Wait until everything of the file system that `path` is on has been written to its disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(descriptor) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)
