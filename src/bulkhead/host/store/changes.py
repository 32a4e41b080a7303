"""What differs between two states of the settings, said without secrets."""

from __future__ import annotations

import msgspec

from bulkhead.model.history import Change
from bulkhead.model.settings.groups import Groups
from bulkhead.model.settings.keys import Key, Settings, flatten, format


def between(old: Settings, new: Settings, *, groups: Groups) -> tuple[Change, ...]:
    """Return the keys whose values differ, in order; secrets are redacted.

    So is what the groups do not know: it may be a secret.
    """
    shown_old, shown_new = groups.redact(old), groups.redact(new)
    return tuple(
        Change(key=format(key), old=_shown(key, shown_old), new=_shown(key, shown_new))
        for key in differing(old, new)
    )


def differing(old: Settings, new: Settings) -> list[Key]:
    """Return the keys whose values are not the same, in order."""
    before, after = flatten(old), flatten(new)
    # By their JSON: in Python 1 == True == 1.0, in settings they are three values.
    return sorted(
        key
        for key in {*before, *after}
        if msgspec.json.encode(before.get(key)) != msgspec.json.encode(after.get(key))
    )


def _shown(key: Key, settings: Settings) -> object:
    found: object = settings
    for name in key:
        if not isinstance(found, dict):
            return found  # all that is above the value is hidden
        found = found.get(name)
    return found
