"""Runs the commands of updates in the background and keeps their status.

The lock is a file, so that whoever else works on updates keeps the API's
commands away too, and a process that dies lets go. The status is lost at a
restart of the machine, as in Bottlerocket: clients refresh first.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from bulkhead.host.api.errors import Locked, NotFound
from bulkhead.lib import atomicfile
from bulkhead.model.updates import (
    Command,
    Failed,
    Image,
    Outcome,
    UpdateStatus,
    check,
    initial,
    next_status,
)

log = logging.getLogger(__name__)


class Updater(Protocol):
    """Does what commands of updates ask for."""

    async def run(self, command: Command, status: UpdateStatus) -> Outcome:
        """Run a command that `check` has allowed; what goes wrong is an outcome too."""


class NoUpdater:
    """This system cannot update itself yet, and says so to whoever asks."""

    async def run(self, command: Command, status: UpdateStatus) -> Outcome:
        """Fail."""
        return Failed(
            exit_status=1,
            stderr=f"{command.value}: this system has no updater yet; "
            "install a new image to update it",
        )


class Updates:
    """The status of updates.

    Args:
        directory: of the status and the lock, on a tmpfs.
        updater: does the work.
        running: the system that runs.
    """

    def __init__(self, directory: Path, updater: Updater, running: Image) -> None:
        self._file = directory / "updates.json"
        self._lock = directory / "updates.lock"
        self._updater = updater
        self._running = running
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Tell whether a command runs."""
        return bool(self._tasks)

    def status(self) -> UpdateStatus:
        """Return the status.

        Raises:
            Locked: a command runs.
            NotFound: there is none before the first refresh.
        """
        with self._locked(fcntl.LOCK_SH):
            found = self._load()
        if found is None:
            raise NotFound("the update status is not initialized; refresh updates first")
        return found

    def start(self, command: Command) -> None:
        """Start a command; the status has a new timestamp when it has ended.

        Raises:
            Locked: another one runs.
            NotAllowed, NothingChosen, NothingStaged: see `model.updates.check`.
        """
        descriptor = self._hold(fcntl.LOCK_EX)
        try:
            status = self._load() or initial(self._running)
            check(status, command)
            task = asyncio.get_running_loop().create_task(self._run(command, status, descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, command: Command, status: UpdateStatus, lock: int) -> None:
        try:
            outcome = await self._updater.run(command, status)
            after = next_status(status, command, outcome, timestamp=_after(status))
            atomicfile.write(self._file, msgspec.json.encode(after), mode=0o600)
        except Exception:
            log.exception("%s failed; the status stays as it was", command.value)
        finally:
            os.close(lock)

    def _load(self) -> UpdateStatus | None:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=UpdateStatus)
        except FileNotFoundError:
            return None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("%s cannot be read and is forgotten: %s", self._file, error)
            return None

    def _hold(self, kind: int) -> int:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise Locked("a command of updates is running; try again later") from error
        return descriptor

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        descriptor = self._hold(kind)
        try:
            yield
        finally:
            os.close(descriptor)


def _after(status: UpdateStatus) -> str:
    """Return the present time; never the text that the last command has."""
    now = datetime.now(UTC)
    text = f"{now:%Y-%m-%dT%H:%M:%S.%f}Z"
    last = status.most_recent_command
    return text if last is None or last.timestamp != text else f"{text[:-1]}1Z"
