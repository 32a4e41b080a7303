"""Names of settings and what can be done with trees of them, whatever the settings mean.

A key is written as in Bottlerocket: `settings.network.hostname`, with quotes
around a part that has other characters than letters, digits, `-`, `_` and
`/`: `settings.kernel.sysctl."vm.swappiness"`. Inside quotes the escapes of
JSON are understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from bulkhead.model.errors import UserError

Key = tuple[str, ...]
"""The parts of a key, without the leading `settings`."""
Settings = dict[str, object]
"""A tree of settings, without an outer `settings`."""

LONGEST_KEY = 255
"""Characters, as Bottlerocket's store has it."""

_ROOT = "settings"
_BARE = re.compile(r"[A-Za-z0-9_/-]+")
_PART = re.compile(r"""[A-Za-z0-9_/-]+|"(?:[^"\\]|\\.)+\"""")


def parse(text: str) -> Key:
    """Read a key; the leading `settings.` may be missing.

    Raises:
        UserError: it is empty, too long, has an empty part or one that needs quotes.
    """
    if len(text) > LONGEST_KEY:
        raise UserError(
            f"a setting's name has at most {LONGEST_KEY} characters, this one has {len(text)}",
            where=_shown(text),
        )
    parts = tuple(_parts(text))
    parts = parts[1:] if parts[:1] == (_ROOT,) else parts
    if not parts:
        raise UserError(
            f"{text!r} names no setting", hint="name one inside it, as in settings.motd"
        )
    return parts


def format(key: Key) -> str:
    """Write a key in full, with `settings.` in front and quotes where they are needed."""
    return ".".join((_ROOT, *map(_quoted, key)))


def flatten(settings: Mapping[str, object]) -> dict[Key, object]:
    """Return every value by its key. A list is one value; a table without values vanishes."""
    leaves: dict[Key, object] = {}
    waiting: list[tuple[Key, Mapping[str, object]]] = [((), settings)]
    # A stack of our own: what comes from outside may be nested deeper than Python's.
    while waiting:
        above, table = waiting.pop()
        for name, value in table.items():
            if isinstance(value, dict):
                waiting.append(((*above, name), value))
            else:
                leaves[*above, name] = value
    return dict(sorted(leaves.items()))


def unflatten(leaves: Mapping[Key, object]) -> Settings:
    """Return the tree of some values; where one key is inside another's value, the longer one stays."""
    settings: Settings = {}
    for key in sorted(leaves):
        table = settings
        for name in key[:-1]:
            inner = table.get(name)
            if not isinstance(inner, dict):
                inner = table[name] = {}
            table = inner
        table[key[-1]] = leaves[key]
    return settings


def merge(base: Settings, over: Settings) -> Settings:
    """Return a new tree: tables of both are joined, any other value of `over` replaces that of `base`."""
    merged = {name: _copy(value) for name, value in base.items() if name not in over}
    for name, value in over.items():
        old = base.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[name] = merge(old, value) if both else _copy(value)  # type: ignore[arg-type] # both are tables
    return merged


def lookup(settings: Settings, key: Key) -> object | None:
    """Return the value or table at a key; None if there is none."""
    found: object = settings
    for name in key:
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return found


def remove(settings: Settings, key: Key) -> Settings:
    """Return a new tree without a key and all below it; tables that this empties vanish too."""
    kept: Settings = {}
    for name, value in settings.items():
        if name != key[0]:
            kept[name] = _copy(value)
        elif len(key) > 1:
            left = remove(value, key[1:]) if isinstance(value, dict) else value
            if left != {}:
                kept[name] = left
    return kept


def _parts(text: str) -> Iterator[str]:
    position = 0
    while position <= len(text):
        match = _PART.match(text, position)
        if match is None:
            raise _wrong(text)
        yield _unquoted(match[0], text)
        position = match.end()
        if position == len(text):
            return
        if text[position] != ".":
            raise _wrong(text)
        position += 1


def _unquoted(part: str, text: str) -> str:
    if not part.startswith('"'):
        return part
    try:
        return msgspec.json.decode(part, type=str)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise _wrong(text) from error


def _wrong(text: str) -> UserError:
    return UserError(
        f"{_shown(text)!r} is not the name of a setting",
        hint="write parts with dots between them, and quotes around a part that has a dot in it: "
        'settings.kernel.sysctl."vm.swappiness"',
    )


def _quoted(part: str) -> str:
    if _BARE.fullmatch(part):
        return part
    # A lone surrogate is in no setting, but may be in the name that an error is about.
    return msgspec.json.encode(part.encode("utf-8", "backslashreplace").decode()).decode()


def _shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}…"


def _copy(value: object) -> object:
    if isinstance(value, dict):
        return {name: _copy(inner) for name, inner in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
