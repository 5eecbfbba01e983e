"""Choose places for the labels of a figure, so that none covers another label or a marker, or is cut."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_RADII = (4, 12, 22, 34, 48, 66, 88, 114, 144, 178, 216)
_DIRECTIONS = 16
_CROSSED = 20
"""The distance that is as bad as a label that crosses a line."""


@dataclass(frozen=True)
class Box:
    """A rectangle, in the units of the drawing."""

    left: float
    bottom: float
    width: float
    height: float

    def intersects(self, other: Box) -> bool:
        """Return whether the two have a common area."""
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and self.bottom < other.bottom + other.height
            and other.bottom < self.bottom + self.height
        )

    def contains(self, other: Box) -> bool:
        """Return whether the other is completely in this rectangle."""
        return (
            self.left <= other.left
            and self.bottom <= other.bottom
            and other.left + other.width <= self.left + self.width
            and other.bottom + other.height <= self.bottom + self.height
        )


@dataclass(frozen=True)
class Label:
    """A text to place next to an anchor.

    Attributes:
        x: of the anchor.
        y: of the anchor.
        width: of the text.
        height: of the text.
        along: whether the anchor is a horizontal line at ``y``, so that the text may be anywhere along it.
    """

    x: float
    y: float
    width: float
    height: float
    along: bool = False


def place_labels(
    labels: Sequence[Label], area: Box, markers: Sequence[Box], lines: Sequence[Box]
) -> list[Box]:
    """Return a box for each label, in their order.

    A label is as near to its anchor as the labels before it allow; where no place is free it takes the one
    with the fewest intersections.

    Args:
        labels: the most important first.
        area: that must contain every box.
        markers: that no box may cover.
        lines: that a box crosses only where every other place is much farther away.
    """
    placed: list[Box] = []
    for label in labels:
        taken = [*placed, *markers]

        def rate(place: tuple[float, Box], taken: Sequence[Box] = taken) -> tuple[int, float]:
            distance, box = place
            hidden = sum(box.intersects(one) for one in taken)
            crossed = sum(box.intersects(one) for one in lines)
            return hidden, distance + _CROSSED * crossed

        places = [place for place in _list_places(label, area) if area.contains(place[1])]
        placed.append(
            min(places, key=rate)[1] if places else Box(area.left, area.bottom, label.width, label.height)
        )
    return placed


def _list_places(label: Label, area: Box) -> Iterator[tuple[float, Box]]:
    """Yield the distance from the anchor and the box of every place that is tried."""
    width, height = label.width, label.height
    if label.along:
        free = max(area.width - width - 1, 0)
        for radius in _RADII[:6]:
            for bottom in (label.y + radius / 2, label.y - radius / 2 - height):
                for step in range(9):
                    yield radius + step, Box(area.left + free * (1 - step / 8), bottom, width, height)
        return
    for radius in _RADII:
        for turn in range(_DIRECTIONS):
            angle = 2 * math.pi * turn / _DIRECTIONS
            x, y = label.x + radius * math.cos(angle), label.y + radius * math.sin(angle)
            left = x - width * (1 - math.cos(angle)) / 2
            bottom = y - height * (1 - math.sin(angle)) / 2
            yield radius, Box(left, bottom, width, height)
