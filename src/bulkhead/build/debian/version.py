"""Order of Debian versions, as deb-version(7) defines it and dpkg computes it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

_PART = re.compile(r"([^0-9]*)([0-9]*)")

Key = tuple[object, ...]


@lru_cache(maxsize=65536)
def key(version: str) -> Key:
    """Return what sorts as `version` does."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return (int(epoch) if epoch.isdecimal() else 0, _string_key(upstream), _string_key(revision))


def _string_key(text: str) -> Key:
    parts: list[object] = []
    # An absent revision equals "0".
    for letters, digits in _PART.findall(text or "0"):
        if letters or digits:
            # Every run ends in 0: after "~" (-1), before letters and the rest.
            parts += [(*map(_weight, letters), 0), int(digits or "0")]
    # The end compares as an empty run of letters, so that "1~" < "1" < "1a".
    return (*parts, (0,), 0)


def _weight(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


_OPERATORS: dict[str, Callable[[Key, Key], bool]] = {
    "<<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    "=": lambda a, b: a == b,
    ">=": lambda a, b: a >= b,
    ">>": lambda a, b: a > b,
    # Obsolete spellings that deb-control still defines: "<" means "<=".
    "<": lambda a, b: a <= b,
    ">": lambda a, b: a >= b,
}


def satisfies(version: str, operator: str, wanted: str) -> bool:
    """Tell whether `version OPERATOR wanted` holds, such as `1.2 >= 1.0`."""
    return _OPERATORS[operator](key(version), key(wanted))
