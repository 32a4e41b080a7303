"""The resolver against every possible choice, on archives that are small enough to try them all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead.build.debian import index
from bulkhead.build.debian.index import Record
from bulkhead.build.debian.relations import Relation
from bulkhead.build.debian.resolver import Resolver, Unsatisfiable
from bulkhead.build.debian.sources import Source
from bulkhead.build.debian.universe import Candidate, Universe

NAMES = ("a", "b", "c", "d")
VIRTUAL = "v"

relation = st.builds(
    "{}{}".format,
    st.sampled_from([*NAMES, VIRTUAL]),
    st.sampled_from(["", "", "", " (>= 2)", " (<< 2)", " (= 1)"]),
)
group = st.lists(relation, min_size=1, max_size=2).map(" | ".join)
provided = st.sampled_from(["", "", "v", "v (= 1)", "v (= 2)"])


@st.composite
def records(draw: st.DrawFn) -> list[Record]:
    """Draw an archive: one or two versions of each package with any relations."""
    found = []
    for name in NAMES:
        for version in draw(st.sampled_from([("1",), ("1", "2")])):
            fields = {
                "Package": name, "Version": version, "Architecture": "amd64",
                "Depends": ", ".join(draw(st.lists(group, max_size=2))),
                "Conflicts": ", ".join(draw(st.lists(relation, max_size=1))),
                "Provides": draw(provided),
            }  # fmt: skip
            found.append(index.record(fields, path="", size=1, sha256=f"{name}{version}"))
    return found


def choices(universe: Universe) -> Iterator[dict[str, Candidate]]:
    """Yield every set of packages with at most one version of each."""
    options = [[None, *universe.candidates(name)] for name in NAMES]
    for combination in itertools.product(*options):
        yield {c.name: c for c in combination if c is not None}


def counts_as(candidate: Candidate, wanted: Relation) -> bool:
    """Tell, by the words of Debian policy, whether a package is what a relation means."""
    if candidate.name == wanted.name and wanted.accepts(candidate.version):
        return True
    return any(
        offer.name == wanted.name and wanted.accepts_provided(offer.version)
        for offer in candidate.provides
    )


def holds(chosen: Mapping[str, Candidate]) -> bool:
    """Tell whether all relations of the chosen packages hold."""
    for candidate in chosen.values():
        for alternatives in candidate.depends:
            if not any(counts_as(c, r) for r in alternatives for c in chosen.values()):
                return False
        for forbidden in candidate.conflicts:
            others = (c for c in chosen.values() if c.name != candidate.name)
            if any(counts_as(other, forbidden) for other in others):
                return False
    return True


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    records=records(),
    requests=st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True),
)
def test_answer_holds_and_is_found_if_there_is_one(
    records: list[Record], requests: list[str]
) -> None:
    """An answer fulfils every relation and has nothing that nobody asked for; a refusal is right."""
    source = Source(
        repository="main", suites=(), priority=500, index=index.decode(index.make(records))
    )
    universe = Universe([source], architecture="amd64")

    try:
        chosen = Resolver(universe).resolve(requests, wanted_by="test")
    except Unsatisfiable:
        assert not any(holds(c) for c in choices(universe) if set(requests) <= c.keys())
        return

    assert set(requests) <= chosen.keys()
    assert holds(chosen)
    reached = set(requests)
    while (
        more := {
            c.name
            for name in reached
            for alternatives in chosen[name].depends
            for r in alternatives
            for c in chosen.values()
            if counts_as(c, r)
        }
        - reached
    ):
        reached |= more
    assert reached == chosen.keys()
