"""Changes the ESP. FAT has no journal: each step leaves names that the boot loader can go by.

The image's own files are never touched, so whatever is interrupted, the machine
starts with the image's parameters at least.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from bulkhead.host.parameters.gather import ENTRIES
from bulkhead.host.parameters.plan import Plan, Write
from bulkhead.lib import atomicfile
from bulkhead.model.errors import HostError

ROOM = 64 * 1024
"""Bytes that must be free: clusters of the entry and of a directory, the largest that FAT has."""
_NEW = ".parameters-new"
"""The boot loader reads names that end with .conf only."""


def execute(plan: Plan, esp: Path) -> None:
    """Do what a plan says; the new entry is on the disk before an old one goes.

    Raises:
        HostError: the ESP is full or cannot be written. Entries that were there are there.
    """
    directory = esp / ENTRIES
    try:
        if plan.write is not None:
            _write(plan.write, directory)
        for file in plan.remove:
            (directory / file).unlink(missing_ok=True)
        if directory.is_dir() and plan.remove:
            atomicfile.sync_directory(directory)
    except OSError as error:
        full = error.errno == errno.ENOSPC
        raise HostError(
            f"cannot change the boot loader's entries: {error.strerror}",
            where=f"/boot/{ENTRIES}",
            hint="the ESP is full" if full else "see the kernel's messages: journalctl -k",
        ) from error


def _write(new: Write, directory: Path) -> None:
    esp = directory.parent.parent
    room = os.statvfs(esp)
    if room.f_bavail * room.f_frsize < ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(made):
        path.mkdir()
        atomicfile.sync_directory(path.parent)
    # One name for all, so that what a power cut left does not add up.
    scratch = directory / _NEW
    scratch.unlink(missing_ok=True)
    try:
        with scratch.open("xb") as file:
            file.write(new.text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, directory / new.file)
    except BaseException:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise
    atomicfile.sync_directory(directory)
