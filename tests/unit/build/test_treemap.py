"""Treemaps: areas are the values and nothing overlaps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.build.treemap import Box, squarify

VALUES = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=25).map(
    lambda values: sorted(values, reverse=True)
)
WHOLE = Box(0, 0, 1280, 720)


@given(VALUES)
def test_areas_are_in_proportion_to_the_values(values: list[float]) -> None:
    """Each rectangle has its share of the whole area."""
    boxes = squarify(values, WHOLE)

    whole = WHOLE.width * WHOLE.height
    for box, value in zip(boxes, values, strict=True):
        assert box.width * box.height == pytest.approx(whole * value / sum(values), rel=1e-6)


@given(VALUES)
def test_rectangles_stay_inside_and_apart(values: list[float]) -> None:
    """No two overlap, and none leaves the whole."""
    boxes = squarify(values, WHOLE)
    slack = 1e-6 * WHOLE.width

    for number, a in enumerate(boxes):
        assert a.x >= -slack
        assert a.y >= -slack
        assert a.x + a.width <= WHOLE.width + slack
        assert a.y + a.height <= WHOLE.height + slack
        for b in boxes[number + 1 :]:
            beside = a.x + a.width <= b.x + slack or b.x + b.width <= a.x + slack
            above = a.y + a.height <= b.y + slack or b.y + b.height <= a.y + slack
            assert beside or above


def test_equal_values_make_squares() -> None:
    """Four equal parts of a square are four squares."""
    assert squarify([1, 1, 1, 1], Box(0, 0, 2, 2)) == [
        Box(0, 0, 1, 1),
        Box(0, 1, 1, 1),
        Box(1, 0, 1, 1),
        Box(1, 1, 1, 1),
    ]


def test_nothing_takes_no_room() -> None:
    """A package of empty files does not divide by zero."""
    assert squarify([0, 0], WHOLE) == [Box(0, 0, 0, 0), Box(0, 0, 0, 0)]
