"""Reading single settings, by key, as the type that the models say they have."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from bulkhead.model.errors import Bug
from bulkhead.render.service import Settings

T = TypeVar("T")


def get(settings: Settings, key: str, kind: type[T]) -> T | None:
    """Return the value or table at a key; None if it is not set.

    Raises:
        Bug: it is of another type, which the models refuse.
    """
    found: object = settings
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as error:
        raise Bug(f"is not what a renderer expects: {error}", where=f"settings.{key}") from error


def text(settings: Settings, key: str) -> str | None:
    """Return a text."""
    return get(settings, key, str)


def texts(settings: Settings, key: str) -> tuple[str, ...]:
    """Return a list of texts; empty if it is not set."""
    return get(settings, key, tuple[str, ...]) or ()
