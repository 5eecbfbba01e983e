"""What a smaller shape costs in quality: a proxy that ranks shapes, fitted to records of this project.

Width, FFN and layers: the loss on held-out text that each adds after an equal small distillation. Vocabulary:
the share of the scores that is lost. A test computes the numbers from the records again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from harness.config.shape import Shape


class ShapeCost(NamedTuple):
    """The cost of a size that is the share r of the teacher's: factor × (1/r − 1) ** power."""

    factor: float
    power: float

    def add(self, share: float) -> float:
        """Return the cost of a share; none above 1."""
        return self.factor * float(max(0.0, 1 / share - 1) ** self.power)


COSTS: Mapping[str, ShapeCost] = MappingProxyType(
    {
        "layers": ShapeCost(0.0161, 1.0),
        "hidden": ShapeCost(0.0310, 1.85),
        "ffn": ShapeCost(0.0034, 0.7),
        "vocabulary": ShapeCost(0.0049, 1.95),
    }
)
"""Three widths and two FFNs with three seeds each, one depth (its power is assumed), four vocabularies."""
LARGEST_VOCABULARY = 16_384
"""More tokens than this are taken to add nothing for one language."""
BASIS = (
    "added held-out loss of 3 widths, 2 FFNs and 1 depth (its power assumed) of a 4 × 256 BERT on Maltese, "
    "lost scores of 4 vocabularies on built-in text; e5-small with half the layers and FFN costs 0.020, and "
    "lost 1 to 8 % of its scores in four languages"
)


def predict_cost(student: Shape, teacher: Shape) -> float:
    """Return the cost of a student's shape: the sum of its sizes' costs; 0 for the teacher's own shape."""
    whole = teacher.sizes | {"vocabulary": min(teacher.vocabulary, LARGEST_VOCABULARY)}
    return sum(cost.add(student.sizes[name] / whole[name]) for name, cost in COSTS.items())
