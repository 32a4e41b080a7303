"""Keeps the cache from being cleaned under a build, and a build from starting meanwhile.

A build shares a lock on the cache for as long as its process lives; cleaning needs it alone. Only
cleaning: builds share the cache among themselves without it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bulkhead.model.errors import HostError

LOCK = ".lock"

_held: dict[str, int] = {}


def use(cache: Path) -> None:
    """Hold what is in `cache` until this process ends; wait while somebody cleans it."""
    key = os.path.realpath(cache)
    if key in _held:
        return
    cache.mkdir(parents=True, exist_ok=True)
    # Not inherited: a virtual machine that outlives us uses none of it.
    descriptor = os.open(cache / LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    _held[key] = descriptor


@contextmanager
def alone(cache: Path) -> Iterator[None]:
    """Have the cache for oneself while the block runs.

    Raises:
        HostError: a build uses it now.
    """
    descriptor = os.open(cache / LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HostError(
                "another bulkhead command uses the cache now", where=str(cache),
                hint="wait until it has ended, then run this again",
            ) from None  # fmt: skip
        yield
    finally:
        os.close(descriptor)
