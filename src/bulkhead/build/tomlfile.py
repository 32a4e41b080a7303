"""Reads TOML files that people write, with errors that name file, line and the nearest key."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from bulkhead.lib import suggest
from bulkhead.model.errors import UserError

T = TypeVar("T", bound=msgspec.Struct)

DEEPEST = 50
"""Levels of tables and arrays: what reads them calls itself for each."""


def read(path: Path, kind: type[T]) -> T:
    """Read a file of a declared type.

    Raises:
        UserError: unreadable, not TOML, or a key that is unknown or has a
            wrong value; with file and line.
    """
    try:
        text = path.read_text()
        data = tomllib.loads(text)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except RecursionError as error:
        raise UserError("is nested too deeply", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"is not TOML: {error}", where=str(path)) from error
    except ValueError as error:
        # Python refuses those of more than 4300 digits, and says how to allow them.
        raise UserError("has a number of too many digits", where=str(path)) from error
    _check_values(data, text, path)
    _check_keys(data, kind, text, path, ())
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        what, _, at = str(error).partition(" - at ")
        keys = tuple(re.findall(r"[\w-]+", at))
        raise UserError(
            f"{'.'.join(keys)}: {what[0].lower()}{what[1:]}", where=line(text, path, keys)
        ) from error


def _check_values(data: dict[str, object], text: str, path: Path) -> None:
    """Refuse what TOML allows and nothing that reads the values can take."""
    left: list[tuple[int, tuple[str, ...], object]] = [(0, (), data)]
    while left:
        depth, keys, value = left.pop()
        if depth > DEEPEST:
            raise UserError("is nested too deeply", where=line(text, path, keys[:1]))
        if isinstance(value, dict):
            left += [(depth + 1, (*keys, key), key) for key in value]
            left += [(depth + 1, (*keys, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            left += [(depth + 1, keys, inner) for inner in value]
        elif isinstance(value, str) and "\0" in value:
            # Many of them are paths, which have none.
            raise UserError(
                f"{'.'.join(keys)!r} has a character NUL in it: {value[:100]!r}",
                where=line(text, path, keys),
            )


def _check_keys(
    data: dict[str, object],
    kind: type[msgspec.Struct],
    text: str,
    path: Path,
    above: tuple[str, ...],
) -> None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for key, value in data.items():
        if key not in fields:
            raise UserError(
                f"unknown key {'.'.join((*above, key))!r}", where=line(text, path, (*above, key)),
                hint=suggest.hint(key, fields) or f"known here: {', '.join(sorted(fields))}",
            )  # fmt: skip
        for name, inner, inner_kind in _tables(value, fields[key].type):
            _check_keys(inner, inner_kind, text, path, (*above, key, *name))


def _tables(
    value: object, kind: object
) -> list[tuple[tuple[str, ...], dict[str, object], type[msgspec.Struct]]]:
    """Return the tables inside a value of a declared type: further keys, table, its type."""
    candidates = [kind, *getattr(kind, "__args__", ())]
    struct = next(
        (c for c in candidates if isinstance(c, type) and issubclass(c, msgspec.Struct)), None
    )
    if struct is None:
        return []
    if isinstance(value, list):
        return [((), item, struct) for item in value if isinstance(item, dict)]
    if isinstance(value, dict):
        if getattr(kind, "__origin__", None) is dict:
            return [((k,), item, struct) for k, item in value.items() if isinstance(item, dict)]
        return [((), value, struct)]
    return []


def line(text: str, path: Path, keys: tuple[str, ...]) -> str:
    """Return `file:line` of the last of `keys`, or the file where it cannot be told."""
    section = ""
    for number, written in enumerate(text.splitlines(), 1):
        if head := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", written):
            section = head[1]
            found = section.split(".")[: len(keys)] == list(keys)
        else:
            key = re.match(r"""\s*["']?([\w-]+)["']?\s*[.=]""", written)
            wanted = keys[-1] if keys else ""
            found = key is not None and key[1] == wanted and section.split(".")[0] in (keys[0], "")
        if found:
            return f"{path}:{number}"
    return str(path)
