"""Reads settings from bytes that anybody may have written."""

from __future__ import annotations

import re

import msgspec

from bulkhead.model.errors import UserError
from bulkhead.model.settings.check import SettingsError
from bulkhead.model.settings.keys import Settings

# Outside of these, every colon belongs to one name in an object.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def from_json(data: bytes) -> Settings:
    """Read a JSON object.

    Raises:
        UserError: it is no JSON, no object, not UTF-8, nested too deep, has a
            number that no setting can be, or one name twice in the same table.
    """
    try:
        settings = msgspec.json.decode(data, type=dict[str, object])
    except UnicodeDecodeError as error:
        raise UserError("is not UTF-8", where="settings") from error
    except RecursionError as error:
        raise UserError("is nested too deep", where="settings") from error
    except msgspec.ValidationError as error:
        what = str(error)
        raise UserError(f"{what[:1].lower()}{what[1:]}", where="settings") from error
    except msgspec.DecodeError as error:
        raise UserError(f"is not JSON: {error}", where="settings") from error
    if _count(settings) != _STRING.sub(b"", data).count(b":"):
        _find_double(data)
    return settings


def from_toml(data: bytes) -> Settings:
    """Read a TOML document.

    Raises:
        UserError: it is no TOML, not UTF-8, nested too deep, or says something twice.
    """
    import tomllib

    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8: byte {error.start} cannot be", where="settings") from error
    except RecursionError as error:
        raise UserError("is nested too deep", where="settings") from error
    except ValueError as error:
        raise UserError(f"is not TOML: {error}", where="settings") from error


def _count(value: object) -> int:
    """Return how many names are in all tables."""
    total = 0
    waiting: list[object] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            total += len(item)
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return total


def _find_double(data: bytes) -> None:
    import json  # only to name the culprit

    def table(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found: dict[str, object] = {}
        for name, value in pairs:
            if name in found:
                raise SettingsError(
                    (name,), "is there twice in one table", hint="keep one of the two"
                )
            found[name] = value
        return found

    json.loads(data, object_pairs_hook=table)
