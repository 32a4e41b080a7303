"""The one part that changes the machine: files first, then services, each with its result."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bulkhead.host.apply import checks, lockdown, plan
from bulkhead.host.apply.places import Places
from bulkhead.host.apply.plan import Change, Plan
from bulkhead.lib import atomicfile
from bulkhead.model.apply import ServiceResult
from bulkhead.model.errors import BulkheadError, HostError
from bulkhead.render.service import Service, Step

if TYPE_CHECKING:
    # Loaded when there is a unit to act on: at the start of a machine there is none.
    from bulkhead.host.systemd import Systemd

log = logging.getLogger(__name__)

Connect = Callable[[], "Systemd"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How it went."""

    services: tuple[ServiceResult, ...]
    restored: bool = False

    @property
    def ok(self) -> bool:
        """Whether every service is up."""
        return all(result.status != "failed" for result in self.services)


def execute(
    planned: Plan, places: Places, *, connect: Connect, boot: bool = False, restore: bool = False
) -> Outcome:
    """Do what a plan says.

    Args:
        planned: the plan.
        places: where the machine's files are.
        connect: opens a connection to the first process; only called if there is something to do.
        boot: the machine starts: services are not there yet and will read the new files.
        restore: if a service fails, put all files back and act on the services again.

    Raises:
        HostError: a file cannot be written; none has been changed then.
    """
    _write(planned.changes, places.etc)
    outcome = _act(planned, places, connect=connect, boot=boot)
    if outcome.ok or not restore:
        return outcome
    _undo(planned.changes, places.etc)
    # What was acted on reads the old files again. Its result stays that of the first time.
    again = _act(planned, places, connect=connect, boot=boot)
    for result in again.services:
        if result.status == "failed":
            log.error("%s does not come back with its old files: %s", result.name, result.error)
    return Outcome(services=outcome.services, restored=True)


def _write(changes: Sequence[Change], etc: Path) -> None:
    done: list[Change] = []
    try:
        for change in changes:
            done.append(change)
            _put(etc, change.path, change.new.data if change.new else None,
                 change.new.mode if change.new else 0)  # fmt: skip
    except OSError as error:
        _undo(done, etc)
        raise HostError(
            f"cannot be written: {error.strerror}; nothing was changed", where=done[-1].path
        ) from error
    except BaseException:
        _undo(done, etc)
        raise


def _undo(changes: Sequence[Change], etc: Path) -> None:
    for change in reversed(changes):
        old = change.old
        try:
            _put(etc, change.path, old.data if old else None, old.mode if old else 0)
        except OSError:
            log.exception("%s cannot be put back", change.path)


def _put(etc: Path, path: str, data: bytes | None, mode: int) -> None:
    """Write or remove a file below `/etc`; make the directories above it."""
    target = etc / path.removeprefix("/etc/")
    if data is None:
        target.unlink(missing_ok=True)
        return
    missing = [above for above in target.parents if not above.exists()]
    for above in reversed(missing):
        above.mkdir(mode=0o755)
        above.chmod(0o755)  # whatever the umask
    atomicfile.write(target, data, mode=mode)


def _act(planned: Plan, places: Places, *, connect: Connect, boot: bool) -> Outcome:
    runner = _Runner(places, planned.changes, connect=connect, boot=boot)
    try:
        if planned.reload:
            runner.reload()
        return Outcome(services=tuple(runner.run(service) for service in planned.services))
    except HostError as error:
        # Without the first process nothing can be done to any service.
        failed = (msgspec.structs.replace(plan.intended(service), status="failed", error=str(error))
                  for service in planned.services)  # fmt: skip
        return Outcome(services=tuple(failed))
    finally:
        runner.close()


class _Runner:
    """Acts on services; a unit that several services share is acted on once."""

    def __init__(
        self, places: Places, changes: Sequence[Change], *, connect: Connect, boot: bool
    ) -> None:
        self._places = places
        self._changes = changes
        self._connect = connect
        self._boot = boot
        self._systemd: Systemd | None = None
        self._done: dict[Step, BulkheadError | str | None] = {}

    def close(self) -> None:
        if self._systemd is not None:
            self._systemd.__exit__()

    def reload(self) -> None:
        self._connection().reload()

    def run(self, service: Service) -> ServiceResult:
        started = time.monotonic()
        result = plan.intended(service)
        notes: list[str] = []
        reboot = False
        error: str | None = None
        status = "done"
        try:
            for step in service.steps:
                if (said := self._step(step)) is not None:
                    notes.append(said)
                    status = "skipped"
            seen = checks.check(service.name, self._places, self._changes)
            notes += seen.notes
            reboot = seen.reboot
        except BulkheadError as failure:
            status, error = "failed", str(failure)
        return msgspec.structs.replace(
            result, status=status, error=error, note="; ".join(notes) or None, reboot=reboot,
            duration_s=round(time.monotonic() - started, 3),
        )  # fmt: skip

    def _step(self, step: Step) -> str | None:
        """Do a step; return why there was nothing to do, if so."""
        if step not in self._done:
            try:
                self._done[step] = self._do(step)
            except BulkheadError as error:
                self._done[step] = error
        done = self._done[step]
        if isinstance(done, BulkheadError):
            raise done
        return done

    def _do(self, step: Step) -> str | None:
        if step.verb == "lockdown":
            return lockdown.tighten(self._places)
        if self._boot:
            return None
        unit = self._connection().act(step.verb, step.unit)
        # A condition that does not hold says that there is nothing to do: no module to load.
        if unit.active != "inactive" or (step.verb == "restart" and not unit.condition):
            return None
        return f"{step.unit} does not run"

    def _connection(self) -> Systemd:
        if self._systemd is None:
            self._systemd = self._connect()
        return self._systemd
