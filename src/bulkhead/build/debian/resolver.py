"""Chooses one version of each package so that every relation holds.

Like apt, and unlike a general solver, it prefers what people expect: the best
version of a name, the first alternative of a group. Relations with one
possible name are followed first, then groups of alternatives in the order in
which they were met, so that a group that is satisfied anyway adds nothing.
When a choice leads to a contradiction the latest choice is revised. The
answer depends on nothing but the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bulkhead.build.debian.relations import Alternatives, Relation
from bulkhead.build.debian.universe import Candidate, Universe
from bulkhead.lib import suggest
from bulkhead.model.errors import UserError

REVISIONS = 5000
"""How many choices are revised before the first contradiction is reported."""


class Unsatisfiable(UserError):
    """No choice of versions fulfils the request."""


class Clause(NamedTuple):
    """One group of alternatives that must hold, and who asked for it."""

    alternatives: Alternatives
    wanted_by: str
    """A package's name, or empty for the request itself."""
    suite: str = ""
    """Only candidates of this suite, for a request such as `name/suite`."""

    def __str__(self) -> str:
        text = " | ".join(map(str, self.alternatives))
        return f"{text} from {self.suite}" if self.suite else text


class _State:
    """What is chosen so far and what is still asked for."""

    def __init__(self) -> None:
        self.chosen: dict[str, Candidate] = {}
        self.reasons: dict[str, Clause] = {}
        self.pending: list[Clause] = []
        self.provided: dict[str, list[tuple[str, Candidate]]] = {}
        self.refused: dict[str, list[tuple[Relation, Candidate]]] = {}

    def copy(self) -> _State:
        other = _State()
        other.chosen = dict(self.chosen)
        other.reasons = dict(self.reasons)
        other.pending = list(self.pending)
        other.provided = {name: list(by) for name, by in self.provided.items()}
        other.refused = {name: list(by) for name, by in self.refused.items()}
        return other

    def add(self, candidate: Candidate, clause: Clause) -> None:
        self.chosen[candidate.name] = candidate
        self.reasons[candidate.name] = clause
        self.pending += [Clause(group, candidate.name) for group in candidate.depends]
        for name, version in _names(candidate):
            self.provided.setdefault(name, []).append((version, candidate))
        for relation in candidate.conflicts:
            self.refused.setdefault(relation.name, []).append((relation, candidate))

    def satisfied(self, clause: Clause) -> bool:
        return any(self._satisfied(relation, clause.suite) for relation in clause.alternatives)

    def _satisfied(self, relation: Relation, suite: str) -> bool:
        return any(
            (relation.accepts(version) if by.name == relation.name
             else relation.accepts_provided(version))
            and (not suite or suite in by.suites)
            for version, by in self.provided.get(relation.name, ())
        )  # fmt: skip

    def conflict(self, candidate: Candidate) -> str | None:
        """Return why `candidate` cannot be added, or None."""
        other = self.chosen.get(candidate.name)
        if other is not None:
            return f"{other!r} is already chosen"
        for name, version in _names(candidate):
            for relation, by in self.refused.get(name, ()):
                if _hits(relation, name, version, candidate) and by.name != candidate.name:
                    return f"{by!r} conflicts with {relation}"
        for relation in candidate.conflicts:
            for version, by in self.provided.get(relation.name, ()):
                if _hits(relation, relation.name, version, by) and by.name != candidate.name:
                    return f"it conflicts with {relation}, and {by!r} is chosen"
        return None


def _names(candidate: Candidate) -> Iterable[tuple[str, str]]:
    """Yield every name that a package counts as, with the version under that name."""
    yield candidate.name, candidate.version
    for relation in candidate.provides:
        yield relation.name, relation.version


def _hits(relation: Relation, name: str, version: str, by: Candidate) -> bool:
    return relation.accepts(version) if name == by.name else relation.accepts_provided(version)


class Resolver:
    """Finds the closure of requested packages.

    Args:
        universe: what there is.
        exclude: packages that count as installed but are left out.
    """

    def __init__(self, universe: Universe, *, exclude: Sequence[str] = ()) -> None:
        self._universe = universe
        self._excluded = self._names_of(exclude)
        self._exclude = frozenset(exclude)
        self._options: dict[Clause, list[Candidate]] = {}

    def _names_of(self, exclude: Sequence[str]) -> frozenset[str]:
        """Return all names that the excluded packages count as."""
        names = set(exclude)
        for name in exclude:
            if not self._universe.candidates(name):
                raise UserError(
                    "is excluded but does not exist", where=name,
                    hint=suggest.hint(name, self._universe.names()),
                )  # fmt: skip
            for candidate in self._universe.candidates(name):
                names.update(relation.name for relation in candidate.provides)
        return frozenset(names)

    def resolve(self, requests: Sequence[str], *, wanted_by: str) -> dict[str, Candidate]:
        """Return the chosen candidates by name, sorted.

        Args:
            requests: `name`, `name=version` or `name/suite`.
            wanted_by: who requests them, for messages.

        Raises:
            UserError: a requested package does not exist.
            Unsatisfiable: the requests contradict each other, or what they need is not there.
        """
        state = _State()
        for request in requests:
            state.pending.append(self._clause(request, wanted_by))
        solved = self._search(state, wanted_by)
        return dict(sorted(solved.chosen.items()))

    def _clause(self, request: str, wanted_by: str) -> Clause:
        name, slash, suite = request.partition("/")
        name, equals, version = name.partition("=")
        if name in self._exclude:
            raise UserError("is both requested and excluded", where=f"{wanted_by}: {name}")
        relation = Relation(name, "", "=" if equals else "", version)
        clause = Clause(((relation),), "", suite)
        if self._candidates(clause):
            return clause
        known = self._universe.candidates(name)
        forbidden = self._universe.forbidden(name)
        if not known and not forbidden:
            hint = self._no_such_package(name)
            raise UserError(f"there is no package {name!r}", where=wanted_by, hint=hint)
        what = f"in suite {suite!r}" if slash else f"version {version!r}" if equals else "allowed"
        there = [f"{c.version} ({_origin(c)})" for c in known]
        there += [f"{c.version} ({_origin(c)}, forbidden by a pin)" for c in forbidden]
        raise UserError(
            f"there is no {name!r} {what}", where=wanted_by, hint=f"there is: {', '.join(there)}"
        )

    def _no_such_package(self, name: str) -> str | None:
        providers = self._universe.providers(Relation(name))
        if providers:
            names = ", ".join(sorted({provider.name for provider in providers}))
            return f"it is a virtual package; choose one of: {names}"
        return suggest.hint(name, self._universe.names())

    def _candidates(self, clause: Clause) -> list[Candidate]:
        """Return what may satisfy a clause, best first."""
        if clause not in self._options:
            found: dict[int, Candidate] = {}
            for relation in clause.alternatives:
                # A request means the package itself; a dependency also what provides it.
                matching = (
                    self._universe.matching(relation)
                    if clause.wanted_by
                    else [
                        c
                        for c in self._universe.candidates(relation.name)
                        if relation.accepts(c.version)
                    ]
                )
                for candidate in matching:
                    if not clause.suite or clause.suite in candidate.suites:
                        found.setdefault(id(candidate), candidate)
            self._options[clause] = list(found.values())
        return self._options[clause]

    def _search(self, state: _State, wanted_by: str) -> _State:
        """Follow clauses until none is left, revising choices on the way."""
        choices: list[tuple[_State, Clause, list[Candidate]]] = []
        first_failure: Unsatisfiable | None = None
        for _ in range(REVISIONS):
            clause, options = self._next(state)
            if clause is None:
                return state
            if not options:
                first_failure = first_failure or self._explain(state, clause, wanted_by)
                if not choices:
                    break
                state, clause, options = choices.pop()
            candidate, *others = options
            if others:
                choices.append((state.copy(), clause, others))
            state.add(candidate, clause)
        raise first_failure or Unsatisfiable(
            "the packages' relations are too tangled", where=wanted_by
        )

    def _next(self, state: _State) -> tuple[Clause | None, list[Candidate]]:
        """Take the clause to follow next out of the pending ones, with its possible candidates."""
        groups: list[tuple[Clause, list[Candidate]]] = []
        waiting = state.pending
        for position, clause in enumerate(waiting):
            if self._holds(state, clause):
                continue
            options = [c for c in self._candidates(clause) if state.conflict(c) is None]
            if len({candidate.name for candidate in options}) <= 1:
                state.pending = [group for group, _ in groups] + waiting[position + 1 :]
                return clause, options
            groups.append((clause, options))
        state.pending = [group for group, _ in groups[1:]]
        return groups[0] if groups else (None, [])

    def _holds(self, state: _State, clause: Clause) -> bool:
        if any(relation.name in self._excluded for relation in clause.alternatives):
            return True
        return state.satisfied(clause)

    def _explain(self, state: _State, clause: Clause, wanted_by: str) -> Unsatisfiable:
        candidates = self._candidates(clause)
        if candidates:
            why = "; ".join(f"{c!r}: {state.conflict(c)}" for c in candidates[:3])
        else:
            others = [c for r in clause.alternatives for c in self._universe.candidates(r.name)]
            offered = ", ".join(map(repr, others))
            why = f"there is only {offered}" if offered else "there is no such package"
        if not clause.wanted_by:
            return Unsatisfiable(f"cannot choose {clause}: {why}", where=wanted_by)
        chain = _chain(state, clause)
        asking = repr(state.chosen[clause.wanted_by])
        return Unsatisfiable(
            f"{asking} needs {clause}, but {why}", where=wanted_by,
            hint=f"asked for by: {' → '.join([wanted_by, *chain])}",
        )  # fmt: skip


def _origin(candidate: Candidate) -> str:
    return candidate.suites[0] if candidate.suites else candidate.repository


def _chain(state: _State, clause: Clause) -> list[str]:
    """Return the packages that led to a clause, the requested one first."""
    names: list[str] = []
    name = clause.wanted_by
    while name:
        names.append(name)
        name = state.reasons[name].wanted_by
    return names[::-1]
