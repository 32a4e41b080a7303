"""Relations between packages: `Depends`, `Provides`, `Conflicts` and the like."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from bulkhead.build.debian import version as versions
from bulkhead.model.errors import RemoteError

_RELATION = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9+.-]*)(?::(?P<qualifier>[a-z0-9-]+))?"
    r"(?:\s*\(\s*(?P<operator><<|<=|=|>=|>>|<|>)\s*(?P<version>[^\s)]+)\s*\))?"
)


LONGEST = 1000
"""Characters of one relation; see `index.LONGEST_VERSION`."""


class Relation(NamedTuple):
    """A package name and which of its versions are meant."""

    name: str
    qualifier: str = ""
    """`any`, `native`, an architecture, or nothing."""
    operator: str = ""
    version: str = ""

    def __str__(self) -> str:
        name = f"{self.name}:{self.qualifier}" if self.qualifier else self.name
        return f"{name} ({self.operator} {self.version})" if self.operator else name

    def accepts(self, version: str) -> bool:
        """Tell whether `version` of the named package is meant."""
        return not self.operator or versions.satisfies(version, self.operator, self.version)

    def accepts_provided(self, version: str) -> bool:
        """Tell whether a `Provides` of this version counts; one without a version only
        satisfies a relation without one.
        """  # fmt: skip
        return not self.operator or (bool(version) and self.accepts(version))


Alternatives = tuple[Relation, ...]


@lru_cache(maxsize=16384)
def parse(text: str) -> tuple[Alternatives, ...]:
    """Parse a field: comma-separated groups of `|`-separated alternatives.

    Raises:
        RemoteError: something in it is not a relation.
    """
    groups = (group.strip() for group in text.split(","))
    return tuple(tuple(map(_relation, group.split("|"))) for group in groups if group)


def _relation(text: str) -> Relation:
    match = _RELATION.fullmatch(text.strip()) if len(text) <= LONGEST else None
    if match is None:
        raise RemoteError(f"{text.strip()[:100]!r} is not a relation between packages")
    return Relation(*(match[part] or "" for part in ("name", "qualifier", "operator", "version")))
