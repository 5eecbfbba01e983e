"""The record ``export.json`` of a folder that ``harness export`` made; it marks the folder as an export."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError, field_validator

from harness.errors import HarnessError
from harness.paths import is_relative_name

RECORD = "export.json"
MADE_BY = "harness export"


@dataclass(frozen=True)
class FileRecord:
    """What was measured of one file of an export.

    Attributes:
        precision: a row of ``harness.precisions``; ``what`` and ``standard_operators`` are its columns.
        what: see ``precision``.
        standard_operators: see ``precision``.
        max_abs_delta: largest difference of a logit from torch.
        argmax_agreement: share of positions with torch's best class; None for a regression.
        p50_ms: median latency; likewise ``p90_ms`` and ``p99_ms``.
        p90_ms: see ``p50_ms``.
        p99_ms: see ``p50_ms``.
        speed_ratio: how many times as fast as fp32 it is, with its interval.
        scores: on the test part, by metric; None where nothing was scored.
        label_agreement: share of the test part's labels that are the fp32 file's; None likewise.
        form: how its layer norms are written.
        form_reason: why this form was kept.
        gate: ``passed``, ``FAILED``, ``not scored``, or ``the measure`` for fp32.
        verdict: of the gate, as plain data.
        kept_parts: parts of the model that stayed in fp32.
        tried: the drop with each set of parts that was tried.
        file: relative to the folder.
        size_bytes: of the file.
        compressed_bytes: of the file after gzip.
    """

    precision: str
    what: str
    standard_operators: bool
    max_abs_delta: float
    argmax_agreement: float | None
    p50_ms: float
    p90_ms: float
    p99_ms: float
    speed_ratio: Mapping[str, float]
    scores: Mapping[str, Any] | None
    label_agreement: float | None
    form: str
    form_reason: str
    gate: str
    verdict: Mapping[str, Any] | None
    kept_parts: Sequence[str]
    tried: Sequence[Mapping[str, Any]]
    file: str
    size_bytes: int
    compressed_bytes: int


@dataclass(frozen=True)
class ExportRecord:
    """What ``harness export`` made, with every number that it measured.

    Attributes:
        made_by: ``harness export``.
        name: of the model and its task.
        architecture: class of the model.
        task: the task of its head; ``paired`` is the task's.
        paired: see ``task``.
        labels: the names of the head's outputs; none for a head without classes.
        problem: ``problem_type`` of the head; ``meaning`` says in words what its outputs are.
        meaning: see ``problem``.
        layout: how the files are arranged.
        language: whose task scored the copies; None where nothing was scored.
        licence: of the model.
        default: the precision to take, and ``default_reason`` why.
        default_reason: see ``default``.
        length: tokens of the timed row.
        threads: of the timing.
        graph: the exported fp32 file.
        files: one for each precision.
        dtypes: what transformers.js calls the precisions.
        allowed_drop: what a copy's score may lose, as a share.
        num_dev: items of the dev part; 0 where nothing was scored.
        num_test: items of the test part; 0 where nothing was scored.
        data_source: where the scored items came from.
        lineage: where the model came from.
        environment: the machine and the versions.
        notes: what a user of the files may not expect, as characters that JavaScript reads otherwise.
    """

    name: str
    architecture: str
    task: str
    paired: bool
    labels: Sequence[str]
    problem: str | None
    meaning: str | None
    layout: str
    language: str | None
    licence: str | None
    default: str
    default_reason: str
    length: int
    threads: int
    graph: Mapping[str, Any]
    files: Sequence[FileRecord]
    dtypes: Sequence[str]
    allowed_drop: float
    num_dev: int
    num_test: int
    data_source: str | None
    lineage: Mapping[str, Any]
    environment: Mapping[str, Any]
    notes: Sequence[str] = ()
    made_by: str = MADE_BY

    def as_dict(self) -> dict[str, Any]:
        """Return the record as it is written to ``export.json``."""
        return {"made_by": self.made_by} | asdict(self)


class ExportedFile(BaseModel):
    """The part of a `FileRecord` that a reader of ``export.json`` relies on."""

    precision: str
    file: str
    size_bytes: int

    @field_validator("file")
    @classmethod
    def _stay_below(cls, name: str) -> str:
        if not is_relative_name(name):
            raise ValueError("expected a file of the folder")
        return name


class ReadExport(BaseModel):
    """The part of an `ExportRecord` that a reader of ``export.json`` relies on."""

    task: str
    language: str | None
    default: str
    files: list[ExportedFile]


def is_export(folder: Path) -> bool:
    """Return whether ``harness export`` made a folder."""
    try:
        value = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return bool(value["made_by"] == MADE_BY)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def read_export(folder: Path) -> ReadExport:
    """Read the record of an export, which may be a stranger's.

    Raises:
        HarnessError: no export made the folder, or its record is not as an export writes it.
    """
    if not is_export(folder):
        raise HarnessError(
            f"{folder}: expected a folder that `harness export` made, with {RECORD}; got none; "
            "export the model"
        )
    try:
        return ReadExport.model_validate_json((folder / RECORD).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise HarnessError(
            f"{folder / RECORD}: expected the record of an export; got '{first['msg']}' at {place}; "
            "export the model again"
        ) from None
