"""Squarified treemaps: rectangles whose areas are the values, as square as they will go.

After Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000): values are
laid in rows along the shorter side of what is left; a row is closed when one
more value would make its rectangles longer than they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float


def squarify(values: Sequence[float], box: Box) -> list[Box]:
    """Divide `box` into one rectangle for each value, in the same order.

    Args:
        values: positive, the largest first.
        box: the area to fill.
    """
    result: list[Box] = []
    total = sum(values)
    if total <= 0:
        return [Box(box.x, box.y, 0, 0) for _ in values]
    scale = box.width * box.height / total
    areas = [value * scale for value in values]
    start = 0
    while start < len(areas):
        side = min(box.width, box.height)
        end = start + 1
        while end < len(areas) and _worst(areas[start : end + 1], side) <= _worst(
            areas[start:end], side
        ):
            end += 1
        row, box = _lay(areas[start:end], box)
        result += row
        start = end
    return result


def _worst(areas: Sequence[float], side: float) -> float:
    """Return the largest ratio of sides in a row of these areas along `side`."""
    total = sum(areas)
    if total <= 0 or side <= 0:
        return float("inf")
    squared = (total / side) ** 2
    return max(max(area / squared, squared / area) for area in areas if area > 0)


def _lay(areas: Sequence[float], box: Box) -> tuple[list[Box], Box]:
    """Lay one row along the shorter side; return its rectangles and what is left."""
    total = sum(areas)
    row = []
    if box.width >= box.height:
        thickness = total / box.height if box.height else 0.0
        y = box.y
        for area in areas:
            height = area / thickness if thickness else 0.0
            row.append(Box(box.x, y, thickness, height))
            y += height
        rest = Box(box.x + thickness, box.y, max(0.0, box.width - thickness), box.height)
    else:
        thickness = total / box.width if box.width else 0.0
        x = box.x
        for area in areas:
            width = area / thickness if thickness else 0.0
            row.append(Box(x, box.y, width, thickness))
            x += width
        rest = Box(box.x, box.y + thickness, box.width, max(0.0, box.height - thickness))
    return row, rest
