"""Walks through values and their declared types together: checks them, hides what is secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NoReturn, get_args

import msgspec

from bulkhead.model.errors import UserError
from bulkhead.model.settings import declared, keys
from bulkhead.model.settings.declared import Type

HIDDEN = "********"
"""What is shown in place of a secret."""

Where = tuple[str | int, ...]
"""A key; numbers in it are positions in lists."""

# A URL may carry a user and password, with a scheme in front or without: proxies are set that way.
# The name of an image may have a tag and a digest, which look alike.
_CREDENTIALS = re.compile(r"(?<=://)[^/?#\s]*(?=@)|^[^/?#\s:@]+:[^/?#\s@]*(?=@(?!sha[0-9]{3}:))")
_SHAPES: dict[type, tuple[str, ...]] = {
    dict: ("table",), list: ("list",), tuple: ("list",), bool: ("boolean",),
    int: ("integer", "number"), float: ("number",), str: ("text",),
}  # fmt: skip


class SettingsError(UserError):
    """A setting is unknown or has a wrong value. Nothing of what came with it is used.

    Args:
        key: which one; numbers in it are positions in lists.
        what: what was expected and what is there.
        hint: what to do about it.
    """

    def __init__(self, key: Sequence[str | int], what: str, *, hint: str | None = None) -> None:
        self.key = tuple(key)
        super().__init__(what, where=written(self.key), hint=hint)


def check(value: object, kind: Type, where: Where, *, complete: bool) -> object:
    """Return a value as plain data of its own, the same for all ways to write it.

    Args:
        value: plain data from outside.
        kind: what it should be.
        where: its key.
        complete: nothing more will be joined to it, so what is NEEDED must be there.

    Raises:
        SettingsError: the first thing that is wrong.
    """
    if kind.mark("many") is not None and not isinstance(value, list | tuple):
        return [check(value, _item(kind, 0), where, complete=complete)]
    chosen = _choose(value, kind)
    if chosen is None:
        _wrong(value, kind, where)
    if isinstance(value, dict):
        return _check_table(value, kind, chosen, where, complete=complete)
    if isinstance(value, list | tuple):
        return _check_list(value, chosen, where, complete=complete)
    plain: object = msgspec.convert(value, chosen.declared)
    return plain


def redact(value: object, kind: Type | None) -> object:
    """Return a copy with secrets hidden; what is not as declared may be one and is hidden too."""
    if kind is None:
        return HIDDEN
    if isinstance(value, dict) and _choose(value, kind) is not None:
        # Names in a secret table are no secret: they are keys, which are shown everywhere.
        return {name: redact(inner, kind.inside(name)) for name, inner in value.items()}
    chosen = None if kind.secret else _choose(value, kind)
    if chosen is None:
        return HIDDEN
    if isinstance(value, list | tuple):
        return [redact(inner, chosen.item(index)) for index, inner in enumerate(value)]
    return _CREDENTIALS.sub(HIDDEN, value) if isinstance(value, str) else value


def secrets(value: object, kind: Type | None) -> Iterator[str]:
    """Yield every text inside a value that must not be shown, as it is written there."""
    if kind is None or kind.secret:
        yield from _texts(value)
        return
    chosen = _choose(value, kind)
    if isinstance(value, dict) and chosen is not None:
        for name, inner in value.items():
            yield from secrets(inner, kind.inside(name))
    elif isinstance(value, list | tuple) and chosen is not None:
        for index, inner in enumerate(value):
            yield from secrets(inner, chosen.item(index))
    elif isinstance(value, str):
        yield from (match[0] for match in _CREDENTIALS.finditer(value))


def written(where: Sequence[str | int]) -> str:
    """Write a key with positions in lists, as in settings.network.hosts[2][0]."""
    text = "settings"
    for part in where:
        name = f"[{part}]" if isinstance(part, int) else keys.format((_short(part),))
        text += name.removeprefix("settings")
    return text


def shown(value: object) -> str:
    """Return a value as an error shows it: in JSON, shortened, without what is in tables."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        before, _, after = value.rpartition("@")
        if ":" in before:
            # In a URL that is wrong, a password may be anywhere before an @.
            value = f"{HIDDEN}@{after}"
        return msgspec.json.encode(
            _short(value).encode("utf-8", "backslashreplace").decode()
        ).decode()
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value) if abs(value) < 10**30 else "a number of more than 30 digits"
    return str(value) if isinstance(value, float) else f"a {type(value).__name__}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _choose(value: object, kind: Type) -> Type | None:
    """Return which of its types a value is of; a text or number has to be right for it."""
    shapes = _SHAPES.get(type(value), ())
    for choice in kind.choices:
        if choice.shape in shapes and (
            choice.shape in ("table", "list") or declared.fits(value, choice)
        ):
            return choice
    return None


def _item(kind: Type, index: int) -> Type:
    item = kind.item(index)
    assert item is not None
    return item


def _wrong(value: object, kind: Type, where: Where) -> NoReturn:
    got = "something else, which is not shown" if kind.holds_secrets() else shown(value)
    hint = "to take a value away, unset it" if value is None else None
    raise SettingsError(where, f"expected {declared.describe(kind)}, got {got}", hint=hint)


def _check_table(
    value: dict[object, object], kind: Type, chosen: Type, where: Where, *, complete: bool
) -> dict[str, object]:
    result: dict[str, object] = {}
    for name, inner in value.items():
        if not isinstance(name, str):
            raise SettingsError(where, f"the name of a setting is text, not {shown(name)}")
        found = kind.inside(name)
        if found is None:
            _unknown(name, chosen, where)
        result[name] = check(inner, found, (*where, name), complete=complete)
    if declared.is_struct(chosen.base):
        _check_present(result, chosen, where, complete=complete)
    return result


def _check_present(value: dict[str, object], kind: Type, where: Where, *, complete: bool) -> None:
    assert isinstance(kind.base, type)
    needed = list(declared.required(kind.base))
    if complete:
        known = declared.fields(kind.base)
        needed += [name for name, field in known.items() if field.mark("needed") is not None]
    for name in needed:
        if name not in value:
            raise SettingsError((*where, name), "is missing, and the rest means nothing without it")


def check_key(kind: Type, key: Sequence[str]) -> None:
    """Check that a key names something of a group.

    Args:
        kind: the group's type.
        key: the key, the group's name first.

    Raises:
        SettingsError: it does not.
    """
    for depth, name in enumerate(key[1:], 1):
        inner = kind.inside(name)
        if inner is None:
            table = next((choice for choice in kind.choices if choice.shape == "table"), None)
            if table is None:
                raise SettingsError((*key[: depth + 1],), "there is no such setting")
            _unknown(name, table, (*key[:depth],))
        kind = inner


def _check_list(
    value: Sequence[object], kind: Type, where: Where, *, complete: bool
) -> list[object]:
    low, high = kind.lengths()
    if not low <= len(value) <= high:
        what = f"expected {declared.describe(kind)}, got a list of {len(value)}"
        raise SettingsError(where, what)
    result = []
    for index, inner in enumerate(value):
        result.append(check(inner, _item(kind, index), (*where, index), complete=complete))
    return result


def _unknown(name: str, table: Type, where: Where) -> NoReturn:
    if not declared.is_struct(table.base):
        of_name = Type(get_args(table.base)[0])
        if names := of_name.names():
            raise SettingsError(
                (*where, name), "there is no such setting", hint=suggest(name, names)
            )
        what = f"the name {shown(name)} cannot be: expected {declared.describe(of_name)}"
        raise SettingsError(where, what)
    assert isinstance(table.base, type)
    known = declared.fields(table.base)
    raise SettingsError((*where, name), "there is no such setting", hint=suggest(name, known))


def suggest(name: str, known: Sequence[str] | dict[str, Type]) -> str | None:
    """Return a hint that names the nearest known name, or all of them if they are few."""
    import difflib  # 6 ms; only needed once something is already wrong

    # Every name is short: what is not comes from somebody who wants to be looked at for long.
    found = difflib.get_close_matches(name[:100], list(known), n=1, cutoff=0.6)
    if found:
        return f"did you mean {found[0]!r}?"
    return f"known here: {', '.join(sorted(known))}" if len(known) <= 12 else None
