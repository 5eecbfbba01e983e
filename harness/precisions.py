"""The precisions of an exported model as one table: name, file, what its numbers are, and how it is made.

``harness.export.precisions`` has a function for each conversion that this table names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness.errors import unknown

FP32 = "fp32"
"""The precision of the exported model, from which every other one is made."""


@dataclass(frozen=True)
class Precision:
    """A row of the table.

    Attributes:
        name: as on the command line and in a scale.
        suffix: of the file's name, as transformers.js expects it.
        what: what its numbers are, for tables and model cards.
        conversions: what turns the fp32 file into it, in order.
        dtype: what transformers.js calls it; empty where it has no word for it.
        standard: whether only standard operators come out.
        two_forms: whether it is also tried with each layer norm as single operators; the faster form stays.
        needs_text: whether it is calibrated on text.
    """

    name: str
    suffix: str
    what: str
    conversions: tuple[str, ...]
    dtype: str
    standard: bool = True
    two_forms: bool = False
    needs_text: bool = False

    @property
    def file(self) -> str:
        """The name of its file: ``model<suffix>.onnx``."""
        return f"model{self.suffix}.onnx"


_ROWS = (
    Precision(FP32, "", "32-bit floats", (), "fp32"),
    Precision("fp16", "_fp16", "16-bit floats; inputs and outputs stay 32-bit", ("half",), "fp16"),
    Precision(
        "int8",
        "_int8",
        "signed 8-bit weights, one scale a channel; activations as it runs",
        ("dynamic-int8",),
        "int8",
        two_forms=True,
    ),
    Precision(
        "uint8",
        "_uint8",
        "unsigned 8-bit weights, one scale a channel; activations as for int8",
        ("dynamic-uint8",),
        "uint8",
        two_forms=True,
    ),
    Precision(
        "int8-static",
        "_static",
        "signed 8-bit weights; activations by ranges seen on text",
        ("static-int8",),
        "",
        needs_text=True,
    ),
    Precision(
        "q4", "_q4", "4-bit weights in blocks of 32, embeddings too", ("four-bit",), "q4", standard=False
    ),
    Precision(
        "q4f16",
        "_q4f16",
        "4-bit weights in blocks of 32, the rest 16-bit floats",
        ("four-bit", "half"),
        "q4f16",
        standard=False,
    ),
)
PRECISIONS: Mapping[str, Precision] = MappingProxyType({row.name: row for row in _ROWS})
COPIES: tuple[str, ...] = tuple(name for name in PRECISIONS if name != FP32)
"""The precisions that are made from the fp32 file."""


def find_precision(name: str, known: Iterable[str] = PRECISIONS) -> Precision:
    """Return a row of the table.

    Raises:
        UsageError: ``known`` has no such precision; the message lists those it has.
    """
    if name not in (names := tuple(known)):
        raise unknown("precision", name, names)
    return PRECISIONS[name]
