"""A real file system that is full, in a process and a mount namespace of its own."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

NEW_USER, NEW_MOUNTS = 0x10000000, 0x20000  # unshare(2)
PRIVATE_BELOW = 1 << 18 | 1 << 14  # mount(2)


def run_on(place: Path, work: Callable[[], None], *, kib: int) -> int | None:
    """Mount a small tmpfs at `place` and run `work` there; return the exit code, 0 if it was right."""
    process = multiprocessing.get_context("fork").Process(target=_child, args=(place, work, kib))
    process.start()
    process.join(120)
    return process.exitcode


def fill(place: Path) -> Path:
    """Use up the last byte of a file system; return the file that has it."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 1024):
            pass
    return filler


def _child(place: Path, work: Callable[[], None], kib: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(NEW_MOUNTS | (NEW_USER if os.geteuid() else 0)) == 0, ctypes.get_errno()
    assert libc.mount(b"none", b"/", None, PRIVATE_BELOW, None) == 0, ctypes.get_errno()
    options = f"size={kib}k,mode=0700".encode()
    assert libc.mount(b"tmpfs", bytes(place), b"tmpfs", 0, options) == 0, ctypes.get_errno()
    work()
