"""The order of versions, relations between packages, and control data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.build.debian import deb822, relations, version
from bulkhead.build.debian.relations import Relation
from bulkhead.model.errors import RemoteError

ASCENDING = [
    "0~~", "0~~a", "0~", "0", "0a", "0.1", "1~rc1-1", "1-1~bpo13+1", "1-1", "1-1+b1", "1-1+deb13u1",
    "1-1.1", "1-2", "1-10", "1a-1", "1+dfsg-1", "1.0-1", "1.2-1", "1.10-1", "2", "10", "1:0.1", "2:0",
]  # fmt: skip

versions = st.from_regex(r"\A(?:[0-9]:)?[0-9][0-9a-c.+~]{0,6}(?:-[0-9a-c.+~]{1,4})?\Z")


def test_versions_are_ordered_as_dpkg_orders_them() -> None:
    """Tildes before nothing, nothing before letters, letters before the rest, numbers by value."""
    mixed = ASCENDING[1::2] + ASCENDING[::2]

    assert sorted(mixed, key=version.key) == ASCENDING


@pytest.mark.parametrize(
    ("left", "right"), [("1", "1-0"), ("0:1", "1"), ("1.0", "1.00"), ("1a", "1a0"), ("1-", "1-0")]
)
def test_versions_that_are_written_differently_are_equal(left: str, right: str) -> None:
    """Absent parts count as zero."""
    assert version.key(left) == version.key(right)


@pytest.mark.slow
@given(left=versions, middle=versions, right=versions)
def test_order_of_versions_is_an_order(left: str, middle: str, right: str) -> None:
    """Any three versions can be sorted, and exactly one of <<, = and >> holds for two."""
    low, mid, high = sorted([left, middle, right], key=version.key)

    assert version.satisfies(low, "<=", mid)
    assert version.satisfies(low, "<=", high)
    assert sum(version.satisfies(left, operator, right) for operator in ("<<", "=", ">>")) == 1


def test_relations_are_parsed() -> None:
    """Alternatives, versions and architecture qualifiers are understood, however it is spaced."""
    parsed = relations.parse("a:any (>=1:2~x) |b,c(<< 3 ) , d")

    assert parsed == (
        (Relation("a", "any", ">=", "1:2~x"), Relation("b")),
        (Relation("c", "", "<<", "3"),),
        (Relation("d"),),
    )
    assert str(parsed[0][0]) == "a:any (>= 1:2~x)"


@pytest.mark.parametrize("text", ["a b", "a (1)", "(>= 1)", "a |", "a (>= 1"])
def test_malformed_relation_is_refused(text: str) -> None:
    """Something that is no relation is an error that quotes it."""
    with pytest.raises(RemoteError, match="is not a relation between packages"):
        relations.parse(text)


def test_provided_name_without_version_satisfies_no_versioned_relation() -> None:
    """Policy 7.5: only a versioned Provides satisfies a versioned relation."""
    wanted = Relation("a", "", ">=", "1")

    assert not wanted.accepts_provided("")
    assert wanted.accepts_provided("2")
    assert Relation("a").accepts_provided("")


def test_control_data_is_split_into_paragraphs() -> None:
    """Continuation lines stay with their field, comments and blank lines are passed over."""
    text = "A: 1\nB: 2\n 3\n# comment\nC:4\n\n \nA: 5\n\n\n"

    assert list(deb822.paragraphs(text)) == [{"A": "1", "B": "2\n 3", "C": "4"}, {"A": "5"}]
    assert list(deb822.paragraphs(text, only=["A"])) == [{"A": "1"}, {"A": "5"}]
    assert deb822.first("") == {}
