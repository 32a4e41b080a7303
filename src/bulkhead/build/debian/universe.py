"""All candidates for every package name, best first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property

from bulkhead.build.debian import relations
from bulkhead.build.debian import version as versions
from bulkhead.build.debian.index import Record
from bulkhead.build.debian.relations import Alternatives, Relation
from bulkhead.build.debian.sources import Source
from bulkhead.model.errors import RemoteError, UserError
from bulkhead.model.repository import Pin

PRIORITIES = ("required", "important", "standard", "optional", "extra")


class Candidate:
    """One version of a package that could be chosen."""

    def __init__(self, record: Record, source: Source, priority: int) -> None:
        self.record = record
        self.name = record.name
        self.version = record.version
        self.repository = source.repository
        self.suites = source.suites
        self.priority = priority

    def __repr__(self) -> str:
        return f"{self.name} {self.version}"

    def _parse(self, text: str) -> tuple[Alternatives, ...]:
        try:
            return relations.parse(text)
        except RemoteError as error:
            where = f"{self!r} of repository {self.repository}"
            raise RemoteError(error.what, where=where) from error

    @cached_property
    def depends(self) -> tuple[Alternatives, ...]:
        """What it needs, `Pre-Depends` first."""
        return self._parse(self.record.depends)

    @cached_property
    def conflicts(self) -> tuple[Relation, ...]:
        """What it cannot be together with."""
        return tuple(group[0] for group in self._parse(self.record.conflicts))

    @cached_property
    def provides(self) -> tuple[Relation, ...]:
        """What else it counts as; a relation's version is the version that it provides."""
        return tuple(group[0] for group in self._parse(self.record.provides))


class Universe:
    """Answers which versions there are of a name and who provides it.

    Args:
        sources: in order of preference among equals.
        pins: see `Pin`.
        held: versions by name that go before others of the same priority.
        architecture: the packages' architecture.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        architecture: str,
        pins: Sequence[Pin] = (),
        held: Mapping[str, str] | None = None,
    ) -> None:
        self._sources = sources
        self.architecture = architecture
        self._pins = pins
        self._held = held or {}
        self._candidates: dict[str, list[Candidate]] = {}
        check_pins(pins)

    def names(self) -> Iterable[str]:
        """Return all names of packages, and those that are only provided."""
        known: dict[str, None] = {}
        for source in self._sources:
            known.update(dict.fromkeys(source.index.packages))
            known.update(dict.fromkeys(source.index.providers))
        return known

    def candidates(self, name: str) -> list[Candidate]:
        """Return the allowed versions of the package called `name`, best first."""
        if name not in self._candidates:
            self._candidates[name] = self._collect(name)
        return self._candidates[name]

    def forbidden(self, name: str) -> list[Candidate]:
        """Return the versions that pins forbid."""
        return [candidate for candidate in self._all(name) if candidate.priority < 0]

    def _all(self, name: str) -> list[Candidate]:
        return [
            Candidate(record, source, self._priority(record, source))
            for source in self._sources
            for record in source.index.records(name)
        ]

    def _collect(self, name: str) -> list[Candidate]:
        found = self._all(name)
        # The sort is stable: among equals the first source stays first.
        found.sort(key=lambda c: versions.key(c.version), reverse=True)
        # A pin that prefers another version is a change of the request: it moves what is held.
        found.sort(key=lambda c: (-c.priority, c.version != self._held.get(name)))
        unique: dict[str, Candidate] = {}
        for candidate in found:
            if candidate.priority >= 0:
                unique.setdefault(candidate.version, candidate)
        return list(unique.values())

    def _priority(self, record: Record, source: Source) -> int:
        matching = [
            (record.name not in pin.packages, position, pin.priority)
            for position, pin in enumerate(self._pins)
            if _matches(pin, record, source)
        ]
        return min(matching)[2] if matching else source.priority

    def providers(self, relation: Relation) -> list[Candidate]:
        """Return the packages that provide what `relation` asks for, best first.

        As apt: by pin priority, then the archive's priority; then by name,
        so that the answer never depends on an index's order.
        """
        names = {
            name
            for source in self._sources
            for name in source.index.providers.get(relation.name, ())
        }
        found = [
            candidate
            for name in sorted(names)
            for candidate in self.candidates(name)
            if any(
                provided.name == relation.name and relation.accepts_provided(provided.version)
                for provided in candidate.provides
            )
        ]
        found.sort(key=lambda c: (-c.priority, _archive_priority(c.record.priority)))
        return found

    def matching(self, relation: Relation) -> list[Candidate]:
        """Return all candidates that satisfy `relation`: the named package, then its providers."""
        if relation.qualifier not in ("", "any", "native", self.architecture):
            return []
        named = [c for c in self.candidates(relation.name) if relation.accepts(c.version)]
        return named + [c for c in self.providers(relation) if c.name != relation.name]


def _archive_priority(priority: str) -> int:
    return PRIORITIES.index(priority) if priority in PRIORITIES else len(PRIORITIES)


def _matches(pin: Pin, record: Record, source: Source) -> bool:
    return (
        any(fnmatchcase(record.name, pattern) for pattern in pin.packages)
        and (pin.suite is None or pin.suite in source.suites)
        and (pin.repository is None or pin.repository == source.repository)
        and (pin.version is None or fnmatchcase(record.version, pin.version))
    )


def check_pins(pins: Sequence[Pin]) -> None:
    """Refuse pins that say opposite things.

    Raises:
        UserError: the same packages and versions with two priorities, or
            one package held at two versions or suites equally strongly.
    """
    seen: dict[tuple[str, str | None, str | None, str | None], int] = {}
    strongest: dict[tuple[str, int], Pin] = {}
    for pin in pins:
        for package in pin.packages:
            scope = (package, pin.suite, pin.repository, pin.version)
            if seen.setdefault(scope, pin.priority) != pin.priority:
                raise UserError(
                    f"contradictory pins: {_text(pin)} has priority {seen[scope]} and "
                    f"priority {pin.priority}",
                    where=f"pin of {package}",
                )
            other = strongest.setdefault((package, pin.priority), pin)
            if other.version != pin.version and other.version and pin.version:
                raise UserError(
                    f"contradictory pins: {_text(other)} and {_text(pin)} with the same "
                    f"priority {pin.priority}",
                    where=f"pin of {package}", hint="give one of them a higher priority",
                )  # fmt: skip


def _text(pin: Pin) -> str:
    parts = [("version", pin.version), ("suite", pin.suite), ("repository", pin.repository)]
    return " of ".join(f"{what} {value!r}" for what, value in parts if value) or "every version"
