"""Keep how long students of different shapes take on this machine. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config.digest import digest
from harness.config.shape import Shape
from harness.errors import HarnessError
from harness.json_files import read_json, write_json
from harness.measure.environment import describe, find_version
from harness.measure.latency_model import LatencyModel, fit_latency

_VOCABULARY = 4096
"""Tokens of the timed students: a row is looked up in the same time among few and many."""


@dataclass(frozen=True)
class LatencySetting:
    """How students are timed.

    Attributes:
        precision: of their files.
        length: tokens of the one row.
        threads: of the session.
    """

    precision: str
    length: int
    threads: int


@dataclass(frozen=True)
class LatencyTable:
    """Students that were timed, and the model of their latency.

    Attributes:
        path: the file that keeps them.
        shapes: of the students.
        model: fitted to their medians.
    """

    path: Path
    shapes: tuple[Shape, ...]
    model: LatencyModel


def list_table_shapes(teacher: Shape) -> list[Shape]:
    """Return the shapes of a table: widths and FFNs of every share of the teacher's, at several depths."""
    hidden = sorted({max(1, round(teacher.heads * share / 6)) for share in (1.5, 2, 3, 4, 5, 6)})
    ffn = sorted({max(1, round(teacher.ffn * share / 12)) for share in (1, 4, 8, 12)})
    depths = [max(1, round(teacher.layers * share / 6)) for share in (1, 2, 4)]
    cells = [(heads, neurons) for heads in hidden for neurons in ffn]
    return [
        teacher.model_copy(
            update={
                "layers": depths[number % len(depths)],
                "hidden": heads * teacher.head_size,
                "heads": heads,
                "ffn": neurons,
                "vocabulary": min(_VOCABULARY, teacher.vocabulary),
            }
        )
        for number, (heads, neurons) in enumerate(cells)
    ]


def find_table(teacher: Shape, setting: LatencySetting) -> LatencyTable | None:
    """Return the table that an earlier plan kept for this machine and setting; None where there is none."""
    path = _locate(teacher, setting)
    if not path.is_file():
        return None
    try:
        rows = read_json(path)["students"]
        return _fit(path, [Shape(**row["shape"]) for row in rows], [float(row["p50_ms"]) for row in rows])
    except (ValueError, KeyError, TypeError) as error:
        raise HarnessError(
            f"latency {path}: expected a table of `harness plan --budget`; got a damaged file; remove it"
        ) from error


def keep_table(teacher: Shape, setting: LatencySetting, medians_ms: Sequence[float]) -> LatencyTable:
    """Write the medians of the table's shapes into the user's cache folder, and return the table."""
    shapes = list_table_shapes(teacher)
    path = _locate(teacher, setting)
    rows = [
        {"shape": shape.model_dump(), "p50_ms": median}
        for shape, median in zip(shapes, medians_ms, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    write_json(partial, {"setting": vars(setting), "environment": describe(), "students": rows})
    partial.replace(path)
    return _fit(path, shapes, medians_ms)


def _fit(path: Path, shapes: Sequence[Shape], medians_ms: Sequence[float]) -> LatencyTable:
    return LatencyTable(path, tuple(shapes), fit_latency(shapes, medians_ms))


def _locate(teacher: Shape, setting: LatencySetting) -> Path:
    """Return the place of a table: its name is a digest of the machine, the setting and the shapes."""
    environment = describe()
    machine = {name: environment[name] for name in ("cpu", "architecture", "cores", "isa")}
    shapes = [shape.model_dump() for shape in list_table_shapes(teacher)]
    about = {**machine, **vars(setting), "onnxruntime": find_version("onnxruntime"), "shapes": shapes}
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "harness" / "latency" / f"{digest(about)[:16]}.json"
