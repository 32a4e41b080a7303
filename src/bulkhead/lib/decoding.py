"""Reading JSON that others wrote."""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


def decode_json(raw: bytes | str, kind: type[T]) -> T:
    """Return what is in `raw`, of which nothing is known.

    msgspec has errors of its own for most that can be wrong, but not for all.

    Raises:
        msgspec.DecodeError: it is something else, in whatever way.
    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"it is not UTF-8: {error.reason}") from error
    except RecursionError as error:
        raise msgspec.DecodeError("it is nested too deeply") from error
