"""The results of a run as data: the schema of ``results.json``.

Every number is in an entry with the key of the manifest that the number came from. A declared cell without a
number is None, and ``absent`` lists it with a reason. Shares are 0 to 1.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue, ValidationError, model_validator

from harness.errors import HarnessError
from harness.report.exported import ExportResult, PrecisionResult
from harness.report.finetuning import FinetuningNote
from harness.report.texts import HeldOut, Leakage, ReadingNote, Repeats
from harness.report.training import TrainingRecord
from harness.report.values import (
    Amount,
    Cost,
    Count,
    Estimate,
    IntervalValue,
    Key,
    ReportModel,
    Share,
    StudyDescription,
    TeacherNote,
)
from harness.verdict import Verdict, decide_verdict

_NO_CELLS = (
    "model", "task", "precision", "reason", "batch_size", "label_agreement", "key", "latency_key",
)  # fmt: skip
"""The fields of an export that name it, or that old records and teachers lack."""
_FINAL = " (final student)"
"""The end of the final student's name in a run; the names of a comparison of recipes have none."""


class Run(ReportModel):
    """The run: its language, recipe, scale, teacher and data."""

    language: str
    language_name: str
    recipe: str
    recipe_source: str
    scale: str
    teacher: str
    data: str


class ModelResult(ReportModel):
    """A model of the run; a baseline without weights has no shape, parameters or bytes.

    Attributes:
        id: its name in the other entries.
        name: its name in tables.
        role: teacher, student or baseline.
        step: the recipe's step that made it; None for models that no step made.
        shape: layers, hidden, heads, ffn, vocabulary and so on.
        parameters: counts by part; their sum is the model's size.
        size_bytes: of the weights as stored.
        key: of the manifest of the stage that made it.
    """

    id: str
    name: str
    role: Literal["teacher", "student", "baseline"]
    step: str | None = None
    shape: dict[str, int | str] | None = None
    parameters: dict[str, Count] | None = None
    size_bytes: Count | None = None
    key: Key

    @property
    def num_parameters(self) -> int | None:
        """The sum over parts."""
        return None if self.parameters is None else sum(self.parameters.values())

    @property
    def title(self) -> str:
        """The name in tables; a run's final student is called student."""
        return "student" if self.name.endswith(_FINAL) else self.name


class TaskScore(ReportModel):
    """One metric of one model on one task's test set.

    Invariants: ``mean`` and ``std`` (of a sample; None for a single seed) are those of ``values``.

    Attributes:
        values: the score of each seed, 0 to 1.
        seeds: the seeds, in the order of the values.
        interval: over test items, and over seeds where the metric's interval includes them.
        n_test: the number of test items.
        keys: of the manifests that the values came from.
        signature: task, data, protocol, model and versions in one line.
    """

    model: str
    task: str
    metric: str
    values: Annotated[tuple[Share, ...], Field(min_length=1)]
    seeds: tuple[int, ...]
    mean: Share
    std: Amount | None
    interval: IntervalValue | None
    n_test: Annotated[int, Field(ge=1)]
    keys: Annotated[tuple[Key, ...], Field(min_length=1)]
    signature: str | None = None

    @model_validator(mode="after")
    def _check_statistics(self) -> TaskScore:
        if len(self.seeds) != len(self.values):
            raise ValueError(f"{len(self.values)} values for {len(self.seeds)} seeds")
        if not math.isclose(self.mean, statistics.fmean(self.values), abs_tol=1e-9):
            raise ValueError(f"mean {self.mean} is not that of the values")
        std = statistics.stdev(self.values) if len(self.values) > 1 else None
        if (std is None) != (self.std is None) or not math.isclose(std or 0, self.std or 0, abs_tol=1e-9):
            raise ValueError(f"std {self.std} is not that of the values")
        return self


def make_score(
    model: str,
    task: str,
    metric: str,
    values: Collection[float],
    *,
    seeds: Collection[int],
    interval: IntervalValue | None,
    n_test: int,
    keys: Collection[str],
    signature: str | None = None,
) -> TaskScore:
    """Return a score with the mean and standard deviation of its values."""
    return TaskScore(
        model=model,
        task=task,
        metric=metric,
        values=tuple(values),
        seeds=tuple(seeds),
        mean=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 else None,
        interval=interval,
        n_test=n_test,
        keys=tuple(keys),
        signature=signature,
    )


class ComparisonRow(ReportModel):
    """One model compared with another on a task's main metric, or on the average over tasks.

    Invariants: ``verdict`` follows from the difference and the corrected p-value (`harness.verdict`).

    Attributes:
        task: a task, or ``average``.
        difference: the model's mean less the other's, over items and seeds.
        retention: the model's mean as a share of the other's; None where the other's is 0 or nearly 0.
        p_value: of approximate randomisation; ``p_holm`` is corrected over all rows of the report.
        p_wilcoxon: of Wilcoxon's signed-rank test over items.
    """

    model: str
    other: str
    task: str
    difference: Estimate
    retention: Estimate | None
    p_value: Share | None
    p_holm: Share | None
    p_wilcoxon: Share | None
    verdict: Verdict
    key: Key

    @model_validator(mode="after")
    def _check_verdict(self) -> ComparisonRow:
        difference = self.difference
        verdict = decide_verdict(difference.value, difference.low, difference.high, self.p_holm)
        if self.verdict != verdict:
            raise ValueError(f"'{self.verdict}' does not follow from the difference and the p-value")
        return self


class Declared(ReportModel):
    """The cells that the report must fill or explain.

    Attributes:
        tasks: the main metric of each task, in the order of the tables.
        scored: models with a score on every task.
        exported: models with a file for each of ``exported_tasks`` in each of ``precisions``.
        exported_tasks: tasks of the exported models.
        precisions: precisions of the exported models.
        trained: steps with a row of training.
    """

    tasks: dict[str, str]
    scored: tuple[str, ...]
    exported: tuple[str, ...] = ()
    exported_tasks: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()


class MissingCell(ReportModel):
    """A declared cell without a number, and the reason.

    Cells are named as in :meth:`Results.list_cells`; ``export/trim/pos/int8`` means all cells of that row.
    """

    cell: str
    reason: Annotated[str, Field(min_length=1)]


class Results(ReportModel):
    """All numbers of a report."""

    schema_version: Literal[1] = 1
    run: Run
    environment: dict[str, JsonValue]
    declared: Declared
    models: Annotated[tuple[ModelResult, ...], Field(min_length=1)]
    scores: tuple[TaskScore, ...] = ()
    comparisons: tuple[ComparisonRow, ...] = ()
    exports: tuple[ExportResult, ...] = ()
    copies: tuple[PrecisionResult, ...] = ()
    training: tuple[TrainingRecord, ...] = ()
    held_out: tuple[HeldOut, ...] = ()
    leakage: tuple[Leakage, ...] = ()
    repeats: tuple[Repeats, ...] = ()
    reading: tuple[ReadingNote, ...] = ()
    finetuning: tuple[FinetuningNote, ...] = ()
    teacher_notes: tuple[TeacherNote, ...] = ()
    costs: tuple[Cost, ...] = ()
    study: StudyDescription | None = None
    absent: tuple[MissingCell, ...] = ()

    def find_score(self, model: str, task: str, metric: str | None = None) -> TaskScore | None:
        """Return a model's score on a task, by the task's main metric if none is named; None if absent."""
        name = (model, task, metric or self.declared.tasks.get(task))
        return next((one for one in self.scores if (one.model, one.task, one.metric) == name), None)

    def find_comparison(self, model: str, other: str, task: str) -> ComparisonRow | None:
        """Return the comparison of two models on a task; None where they were not compared."""
        name = (model, other, task)
        return next((one for one in self.comparisons if (one.model, one.other, one.task) == name), None)

    def list_models(self, role: str) -> tuple[ModelResult, ...]:
        """Return the models of a role, in their order."""
        return tuple(one for one in self.models if one.role == role)

    def list_keys(self) -> set[str]:
        """Return the keys of all manifests that numbers came from."""
        files, texts = (self.exports, self.copies), (self.held_out, self.leakage, self.repeats, self.reading)
        listed = (
            self.models,
            self.training,
            self.comparisons,
            self.finetuning,
            self.teacher_notes,
            *files,
            *texts,
        )
        single = [one.key for rows in listed for one in rows]
        timed = [one.latency_key for one in self.exports if one.latency_key is not None]
        scored = (key for one in self.scores for key in one.keys)
        return {*single, *timed, *scored, *(key for one in self.costs for key in one.keys)}

    def list_cells(self) -> Iterator[tuple[str, bool]]:
        """Return every declared cell and whether it is filled."""
        for model in self.models:
            for field in ("shape", "parameters", "size_bytes"):
                yield f"model/{model.id}/{field}", getattr(model, field) is not None
        for name in self.declared.scored:
            for task in self.declared.tasks:
                yield f"score/{name}/{task}", self.find_score(name, task) is not None
        yield from self._export_cells()
        rows = {one.step: one for one in self.training}
        for step in self.declared.trained:
            yield from _list_fields(
                f"training/{step}", rows.get(step), TrainingRecord, ("step", "note", "curve", "key")
            )

    def _export_cells(self) -> Iterator[tuple[str, bool]]:
        files = {(one.model, one.task, one.precision): one for one in self.exports}
        base = {(one.id, "fp32") for one in self.list_models("teacher")[:1]}
        for model in self.declared.exported:
            for task in self.declared.exported_tasks:
                for precision in self.declared.precisions:
                    own = ("ratio",) if (model, precision) in base else ()
                    name = f"export/{model}/{task}/{precision}"
                    file = files.get((model, task, precision))
                    yield from _list_fields(name, file, ExportResult, (*_NO_CELLS, *own))

    def find_problems(self, manifests: Collection[str] | None = None) -> list[str]:
        """Return all problems: cells neither filled nor explained, duplicates, and dangling references.

        Args:
            manifests: keys of the existing manifests; None leaves keys unchecked.
        """
        cells = dict(self.list_cells())
        absent = {one.cell: _list_cells_under(one.cell, cells) for one in self.absent}
        explained = {cell for under in absent.values() for cell in under}
        problems = [
            f"{cell} is neither filled nor absent" for cell in cells if not cells[cell] | (cell in explained)
        ]
        problems += [f"{cell} is absent, but filled" for cell in sorted(explained) if cells[cell]]
        problems += [
            f"{name} is absent, but was never declared" for name, under in absent.items() if not under
        ]
        known = {one.id for one in self.models}
        named = {*(one.model for one in self.scores), *(one.model for one in self.exports)}
        named |= {*(one.model for one in self.held_out), *(one.model for one in self.copies)}
        named |= {one.model for one in self.finetuning if one.model is not None}
        named |= {name for one in self.comparisons for name in (one.model, one.other)}
        named |= {*self.declared.scored, *self.declared.exported}
        problems += [f"model '{name}' is named but not described" for name in sorted(named - known)]
        problems += [f"{name} appears twice" for name in self._find_duplicates()]
        if manifests is not None:
            problems += [
                f"manifest {key} does not exist" for key in sorted(self.list_keys() - set(manifests))
            ]
        return problems

    def _find_duplicates(self) -> list[str]:
        names = [f"model {one.id}" for one in self.models]
        names += [f"score {one.model}/{one.task}/{one.metric}" for one in self.scores]
        names += [f"export {one.model}/{one.task}/{one.precision}" for one in self.exports]
        names += [f"copy {one.model}/{one.task}/{one.precision}" for one in self.copies]
        names += [f"training {one.step}" for one in self.training]
        return sorted({name for name in names if names.count(name) > 1})

    def check(self, manifests: Collection[str] | None = None) -> None:
        """Refuse results with problems.

        Raises:
            HarnessError: names the first three problems and the number of the others.
        """
        problems = self.find_problems(manifests)
        if problems:
            more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
            raise HarnessError(
                f"results: expected every declared cell filled or explained; got {'; '.join(problems[:3])}"
                f"{more}; run the stage that makes them, or list them as absent with a reason"
            )


def _list_cells_under(name: str, cells: Collection[str]) -> list[str]:
    return [cell for cell in cells if cell == name or cell.startswith(f"{name}/")]


def _list_fields(
    name: str, row: ReportModel | None, kind: type[ReportModel], skipped: Collection[str]
) -> Iterator[tuple[str, bool]]:
    for field in kind.model_fields:
        if field not in skipped:
            yield f"{name}/{field}", getattr(row, field, None) is not None


def read_results(path: Path) -> Results:
    """Read a ``results.json``.

    Raises:
        HarnessError: the file is missing or does not fit the schema; names the first place that does not.
    """
    try:
        return Results.model_validate_json(path.read_bytes())
    except OSError as error:
        raise HarnessError(
            f"results: expected a file at '{path}'; got {error.strerror}; run the pipeline first"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(one) for one in first["loc"]) or "the file"
        raise HarnessError(
            f"results: expected '{path}' in this version's schema; got {first['msg']} at {place}; "
            f"run the pipeline again to write a new file"
        ) from error
