"""From the files of commits to the settings in force. Whatever is in them, this ends well.

The newest commit that this image can read counts. What stood in the way is
told as conditions: on the boot path there is nobody to raise an error to.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from bulkhead.host.store import document
from bulkhead.host.store.accept import accept
from bulkhead.host.store.document import Part, Unreadable
from bulkhead.host.store.files import Files
from bulkhead.host.store.migrations import Chain, Schemas
from bulkhead.model.health import Condition
from bulkhead.model.history import Commit
from bulkhead.model.settings.groups import Groups
from bulkhead.model.settings.keys import Settings, flatten, format, merge, unflatten

UNREADABLE = "settings-unreadable"
LOST = "settings-lost"
GROUP_KEPT = "settings-group-kept"

_TRIES = 400
"""Commits that are tried; twice as many as are kept."""
DEFAULTS = Commit(
    number=0,
    time=datetime(1970, 1, 1, tzinfo=UTC),
    who="image",
    message="the image's defaults",
)


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What one commit means in this image's schemas, before anything is judged."""

    commit: Commit = DEFAULTS
    settings: Settings = {}
    """All values of the node that this image can read."""
    core: Part | None = None
    groups: dict[str, Part] = {}
    """Parts as they are in the file, by the group's name."""
    kept: dict[str, str] = {}
    """Why a group's part is only carried along, by its name."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The settings at one moment."""

    stored: Stored
    own: Settings
    """The node's values that count."""
    live: Settings
    """These over the image's defaults."""
    aside: Settings
    """The node's values that do not count, as they are stored."""
    conditions: tuple[Condition, ...]


def _judge(stored: Stored, *, defaults: Settings, groups: Groups) -> State:
    accepted = accept(stored.settings, defaults=defaults, groups=groups)
    aside: Settings = {}
    if accepted.conditions:
        counted = flatten(accepted.own)
        leaves = flatten(stored.settings).items()
        aside = unflatten({key: value for key, value in leaves if key not in counted})
    return State(
        stored=stored,
        own=accepted.own,
        live=accepted.live,
        aside=aside,
        conditions=(*map(_kept, stored.kept.items()), *accepted.conditions),
    )


def newest(files: Files, *, schemas: Schemas, defaults: Settings, groups: Groups) -> State:
    """Return the state after the newest commit that can be read, or that of the defaults."""
    conditions: list[Condition] = []
    # Before the list: a commit that happens meanwhile is in the list first.
    recorded = files.recorded()
    try:
        numbers = files.numbers()
    except OSError as error:
        reason = f"the directory cannot be read: {error.strerror}"
        conditions.append(_unreadable(str(files.commits), reason, 0))
        numbers = []
    else:
        if recorded > max(numbers, default=0):
            conditions.append(_lost(files, recorded, max(numbers, default=0)))
    reasons = {}
    for number in numbers[:_TRIES]:
        try:
            state = _judge(load(files, number, schemas), defaults=defaults, groups=groups)
        except FileNotFoundError:
            # Pruned since the list was made: then there are newer ones.
            return newest(files, schemas=schemas, defaults=defaults, groups=groups)
        except Unreadable as error:
            reasons[number] = str(error)
        except RecursionError:
            reasons[number] = "it is nested too deeply"
        else:
            break
    else:
        state = _judge(Stored(), defaults=defaults, groups=groups)
    conditions += (
        _unreadable(str(files.path(number)), reason, state.stored.commit.number)
        for number, reason in reasons.items()
    )
    return msgspec.structs.replace(state, conditions=(*conditions, *state.conditions))


def load(files: Files, number: int, schemas: Schemas) -> Stored:
    """Read one commit.

    Raises:
        FileNotFoundError: there is none of this number.
        Unreadable: it is damaged, or nothing for this image.
    """
    found = document.decode(files.read(number))
    if found.commit.number != number:
        raise Unreadable(f"it is commit {found.commit.number} under another name")
    settings = _migrated(found.core, schemas.core)
    kept = {}
    for name, part in found.groups.items():
        if name not in schemas.groups:
            kept[name] = "this image does not have the group"
            continue
        try:
            theirs = _migrated(part, schemas.groups[name])
        except Unreadable as error:
            kept[name] = str(error)
        else:
            # Only its own group, whatever the file says.
            settings = merge(settings, {name: theirs[name]} if name in theirs else {})
    return Stored(
        commit=found.commit, settings=settings, core=found.core, groups=found.groups, kept=kept
    )


def history(files: Files, limit: int) -> list[Commit]:
    """Return the newest commits, the newest first, without those that cannot be read."""
    found: list[Commit] = []
    for number in files.numbers():
        if len(found) >= limit:
            break
        try:
            found.append(document.decode_commit(files.read(number)))
        except (FileNotFoundError, Unreadable):
            continue
    return found


def _migrated(part: Part, chain: Chain) -> Settings:
    try:
        return document.read(part, chain)
    except Unreadable:
        raise
    except Exception as error:  # a migration that fails must not keep a node from booting
        raise Unreadable(f"a migration fails: {type(error).__name__}") from error


def _unreadable(where: str, reason: str, used: int) -> Condition:
    instead = f"those of commit {used}" if used else "the image's defaults"
    return Condition(
        code=UNREADABLE,
        title=f"settings cannot be read: {reason}",
        severity="error",
        text=f"In force are {instead}. Compare them with what the node should have, and set "
        "what is missing; each commit from now on is kept as usual.",
        where=where,
    )


def _lost(files: Files, recorded: int, newest_number: int) -> Condition:
    instead = f"commit {newest_number}" if newest_number else "the image's defaults"
    return Condition(
        code=LOST,
        title=f"settings are lost: commit {recorded} was made, and its file is gone",
        severity="error",
        text=f"In force is {instead}. Look for errors of the disk in the journal, and set again "
        "what is missing.",
        where=str(files.path(recorded)),
    )


def _kept(item: tuple[str, str]) -> Condition:
    name, reason = item
    return Condition(
        code=GROUP_KEPT,
        title=f"the values of the group {name!r} are not used: {reason}",
        severity="warning",
        text="They are kept for an image that can read them. To drop them, unset the group.",
        where=format((name,)),
    )
