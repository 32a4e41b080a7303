"""What has to change: pure, from what the settings want and what the machine has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bulkhead.model.apply import FileChange, ServiceResult
from bulkhead.render.service import File, Service

UNITS = "/etc/systemd/system/"
DIFF_LIMIT = 64 * 1024
"""Bytes of a file beyond which no difference is shown."""
DIFF_LINES = 200


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a file of the machine is."""

    data: bytes
    mode: int = 0o644


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings want of one service."""

    service: Service
    files: tuple[File, ...]
    leftover: tuple[str, ...] = ()
    """Files that were written for it since the start, or are in the image for it."""
    retry: bool = False
    """It failed the last time, so it is acted on although nothing has changed since."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One file that has to change."""

    path: str
    service: str
    new: File | None
    """None: it goes away."""
    old: Content | None
    """None: it is not there yet."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that has to be done, in order: files, then units, then services."""

    changes: tuple[Change, ...]
    services: tuple[Service, ...]
    reload: bool
    """Unit files are among the changes."""


def plan(wanted: Sequence[Wanted], current: Mapping[str, Content]) -> Plan:
    """Compare; only services with a file that differs are acted on, and those that failed before."""
    changes = []
    due = []
    for item in wanted:
        found = list(_changes(item, current))
        changes += found
        if found or item.retry:
            due.append(item.service)
    return Plan(
        changes=tuple(sorted(changes, key=lambda change: change.path)),
        services=tuple(due),
        reload=any(change.path.startswith(UNITS) for change in changes),
    )


def _changes(item: Wanted, current: Mapping[str, Content]) -> Iterable[Change]:
    name = item.service.name
    for file in item.files:
        old = current.get(file.path)
        if old is None or old.data != file.data or old.mode != file.mode:
            yield Change(path=file.path, service=name, new=file, old=old)
    kept = {file.path for file in item.files}
    for path in item.leftover:
        if path not in kept and (old := current.get(path)) is not None:
            yield Change(path=path, service=name, new=None, old=old)


def describe(planned: Plan, *, diffs: bool) -> tuple[FileChange, ...]:
    """Return the changes of files as they are shown to people."""
    return tuple(
        FileChange(
            path=change.path,
            change="write" if change.new is not None else "remove",
            diff=_diff(change) if diffs else None,
        )
        for change in planned.changes
    )


def intended(service: Service) -> ServiceResult:
    """Return what would be done to a service."""
    return ServiceResult(
        name=service.name, units=units(service), action=action(service), status="planned"
    )


def units(service: Service) -> tuple[str, ...]:
    """Return the units that a service's steps act on, each once."""
    return tuple(dict.fromkeys(step.unit for step in service.steps if step.unit))


def action(service: Service) -> str:
    """Say what a service's steps do."""
    return ", ".join(map(str, service.steps)) or "none"


def _diff(change: Change) -> str | None:
    """Return the difference as text; None for secrets, binary files and big ones.

    A file that goes away has none: whether a secret is in it is not known any more.
    """
    import difflib

    new = change.new.data if change.new is not None else b""
    old = change.old.data if change.old is not None else b""
    if change.new is None or change.new.secret or max(len(old), len(new)) > DIFF_LIMIT:
        return None
    try:
        before, after = (raw.decode().splitlines() for raw in (old, new))
    except UnicodeDecodeError:
        return None
    lines = list(difflib.unified_diff(before, after, change.path, change.path, lineterm=""))
    if len(lines) > DIFF_LINES:
        lines = [*lines[:DIFF_LINES], f"… {len(lines) - DIFF_LINES} lines more"]
    return "\n".join(lines)
