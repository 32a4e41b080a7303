"""Which of the node's values this image takes; the others are set aside, and the node boots.

A value can become wrong without being touched: an image knows a setting no
more, or judges it more strictly. One such value must not take the others
along, nor the boot. It stays in the store, so that it is back with an image
that knows it.
"""

from __future__ import annotations

import msgspec

from bulkhead.model.health import Condition
from bulkhead.model.settings.groups import Groups, SettingsError
from bulkhead.model.settings.keys import Key, Settings, format, lookup, merge, remove, unflatten

SET_ASIDE = "settings-set-aside"
WRONG_DEFAULTS = "settings-defaults-wrong"


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force, and what is not."""

    own: Settings
    """The node's values that count."""
    live: Settings
    """These over the image's defaults."""
    conditions: tuple[Condition, ...] = ()
    """Why the others do not count."""


def accept(own: Settings, *, defaults: Settings, groups: Groups) -> Accepted:
    """Choose the part of the node's values that is right together with the image's defaults.

    Costs one check where nothing is wrong, and a few more for each value that is.
    """
    conditions = []
    while True:
        try:
            live = together(own, defaults=defaults, groups=groups)
        except SettingsError as error:
            if not own:
                conditions.append(_wrong_defaults(error))
                return Accepted(own={}, live=defaults, conditions=tuple(conditions))
            key = _culprit(error, own, defaults=defaults, groups=groups)
            conditions.append(_set_aside(key, error))
            own = remove(own, key)
        else:
            return Accepted(own=own, live=live, conditions=tuple(conditions))


def _culprit(error: SettingsError, own: Settings, *, defaults: Settings, groups: Groups) -> Key:
    """Return the smallest part of `own` that the error is about; never all of it."""
    key: Key = ()
    for name in error.key:
        if not isinstance(name, str) or lookup(own, (*key, name)) is None:
            break
        key = (*key, name)
    # An error can be about a table: what in it is wrong alone is what has to go.
    while isinstance(table := lookup(own, key), dict):
        wrong = [
            name
            for name, value in table.items()
            if not _right(unflatten({(*key, name): value}), defaults=defaults, groups=groups)
        ]
        if not 0 < len(wrong) < len(table):
            break
        key = (*key, wrong[0])
    return key or (next(reversed(own)),)


def together(own: Settings, *, defaults: Settings, groups: Groups) -> Settings:
    """Return the node's values over the image's defaults, in their normal form.

    Raises:
        SettingsError: one is wrong, or cannot even be judged.
    """
    try:
        return groups.check(merge(defaults, own), complete=True)
    except SettingsError:
        raise
    except Exception as error:  # a variant's own rules are anybody's code, and the node has to boot
        raise SettingsError((), f"cannot be judged: {type(error).__name__}") from error


def _right(own: Settings, *, defaults: Settings, groups: Groups) -> bool:
    try:
        together(own, defaults=defaults, groups=groups)
    except SettingsError:
        return False
    return True


def _set_aside(key: Key, error: SettingsError) -> Condition:
    return Condition(
        code=SET_ASIDE,
        title=f"{format(key)} is not used: {error.what}",
        severity="warning",
        text="This image does not take the value that the node has, and uses its own default. "
        "Set a value that is right, or unset it.",
        where=format(key),
    )


def _wrong_defaults(error: SettingsError) -> Condition:
    return Condition(
        code=WRONG_DEFAULTS,
        title=f"the image's own defaults are wrong: {error}",
        severity="error",
        text="They are in force as they are, without any value of the node. "
        "Go back to another image, and report this.",
        where=error.where,
    )
