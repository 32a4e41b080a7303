"""Has one process at a time write to a folder: the others wait until it has ended, however it does."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".bulkhead.lock"


@contextmanager
def alone(folder: Path, *, waits: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Have `folder` for oneself while the block runs, among those who ask for that.

    Args:
        folder: it exists; a file `LOCK` is made in it and stays.
        waits: called once when somebody else has it now.
    """
    # For writing: on NFS there is no other exclusive lock (flock(2)).
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waits()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
