"""The directory of commits: one file each, written once, the newest the highest number.

    commits/17.json   a commit; appears whole by a rename, which is the moment it happens
    current           the number of the newest, written after it; tells when that one is lost,
                      and that there are commits at all (the boot's condition)

Readers take no lock. They trust nothing in here: the apply agent, which is
root, reads what the API has written, and the API may have been broken into.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bulkhead.host.store.document import Unreadable
from bulkhead.lib import atomicfile

LARGEST = 8 * 1024 * 1024
"""Bytes of one file; a larger one is not read."""

_NAME = re.compile(r"([1-9][0-9]{0,14})\.json", re.ASCII)
_NUMBER = re.compile(rb"([1-9][0-9]{0,14})\n", re.ASCII)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A named pipe would hold the reader up, a link would lead it elsewhere.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Files:
    """The commits of one node.

    Args:
        directory: belongs to the API alone, mode 0700.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.commits = directory / "commits"
        self.current = directory / "current"

    def numbers(self) -> list[int]:
        """Return the numbers of all commits, the newest first.

        Raises:
            OSError: the directory is there and cannot be read.
        """
        try:
            descriptor = os.open(self.commits, _DIRECTORY)
        except FileNotFoundError:
            return []
        try:
            names = os.listdir(descriptor)
        finally:
            os.close(descriptor)
        found = (_NAME.fullmatch(name) for name in names)
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def read(self, number: int) -> bytes:
        """Return the bytes of a commit.

        Raises:
            FileNotFoundError: there is none of this number (any more).
            Unreadable: it is no file, too large, or the disk fails.
        """
        try:
            return _read(self.path(number))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Unreadable(f"it cannot be read: {error.strerror}") from error

    def recorded(self) -> int:
        """Return the number that `current` has; 0 if it has none."""
        try:
            match = _NUMBER.fullmatch(_read(self.current))
        except (OSError, Unreadable):
            return 0
        return int(match[1]) if match else 0

    def path(self, number: int) -> Path:
        """Return where a commit is."""
        return self.commits / f"{number}.json"

    def prepare(self) -> None:
        """Make what the first commit needs, and remove what a killed writer left."""
        if not self.numbers():
            if not self.commits.is_dir():
                os.mkdir(self.commits, 0o700)
            # The boot must not overlook the first commit, whenever the power goes. Written
            # anew each time: a writer may have been killed before it was durable.
            atomicfile.write(self.current, "0\n", mode=0o600, durable=True)
            with suppress(PermissionError):  # systemd made the directory, in one of root's
                atomicfile.sync_directory(self.directory.parent)
        for place in (self.commits, self.directory):
            for leftover in place.glob(".*"):
                leftover.unlink()

    def write(self, number: int, raw: bytes) -> None:
        """Add a commit; when this returns, a power cut does not undo it.

        Raises:
            OSError: it could not be written, and there is none.
        """
        path = self.path(number)
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        try:
            atomicfile.write(path, raw, mode=0o600, durable=True)
        except OSError:
            # It may have got its name and failed only afterwards.
            with suppress(OSError):
                path.unlink(missing_ok=True)
            raise
        # The commit has happened. What is left may fail, and is repaired by the next one.
        with suppress(OSError):
            atomicfile.write(self.current, f"{number}\n", mode=0o600)

    def prune(self, *, keep: int, bytes_kept: int) -> None:
        """Remove the oldest commits beyond a number and a total size; never the newest."""
        room = bytes_kept
        for position, number in enumerate(self.numbers()):
            path = self.path(number)
            with suppress(OSError):
                room -= path.lstat().st_size
                if position and (position >= keep or room < 0):
                    path.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one writer at a time in, of all threads and processes. A dead one lets go."""
        descriptor = os.open(self.directory, _DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _read(path: Path) -> bytes:
    descriptor = os.open(path, _FILE)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("it is not a file")
        # One byte more than allowed, for it may grow meanwhile.
        raw = file.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise Unreadable(f"it is larger than {LARGEST} bytes")
    return raw
