"""What a run found, as data: the schema of ``results.json``.

Every number stands in an entry that carries the key of the manifest it came from. A cell that was declared
and has no number is None and stands in ``absent`` with its reason; shares are 0 to 1.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterator
from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from harness.errors import HarnessError
from harness.report.exported import ExportResult, PrecisionResult
from harness.report.texts import HeldOut, Leakage
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
)


class Run(ReportModel):
    """Which run this is."""

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
        id: what the other entries call it.
        name: what tables call it.
        role: teacher, student or baseline.
        step: the recipe's step that made it; None where none did.
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


class TaskScore(ReportModel):
    """One metric of one model on one task's test set.

    What holds: ``mean`` and ``std`` (of a sample; None for a single seed) are those of ``values``.

    Attributes:
        values: one score a seed, 0 to 1.
        seeds: the seeds, in the order of the values.
        interval: over test items (and seeds, where the metric's interval was made so).
        n_test: how many test items.
        keys: of the manifests the values came from.
        signature: what the score is a score of, in one line.
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
    def _agrees(self) -> TaskScore:
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
    """Gives a score with the mean and standard deviation of its values."""
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
    """One model beside another on one task's main metric, or on the average over tasks.

    What holds: ``verdict`` is *better* or *worse* only where the interval of the difference excludes 0 and,
    where a test was made, its corrected p-value is below 0.05.

    Attributes:
        task: a task, or ``average``.
        difference: the model's mean less the other's, over items and seeds.
        retention: the model's mean as a share of the other's; None where that is 0 or nearly.
        p_value: of approximate randomisation; ``p_holm`` is it corrected over all rows of the report.
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
    verdict: Literal["better", "worse", "not told apart"]
    key: Key

    @model_validator(mode="after")
    def _claims_no_more_than_it_shows(self) -> ComparisonRow:
        sure = self.difference.excludes(0) and (self.p_holm is None or self.p_holm < 0.05)
        claim = "better" if self.difference.value > 0 else "worse"
        if self.verdict != (claim if sure else "not told apart"):
            raise ValueError(f"'{self.verdict}' is not what difference and p-value bear out")
        return self


class TrainingRecord(ReportModel):
    """What one step that trains cost and reached. Losses are as the step defines them, in nats."""

    step: str
    tokens: Count | None = None
    tokens_per_s: Amount | None = None
    wall_s: Amount | None = None
    peak_memory_bytes: Count | None = None
    loss_final: float | None = None
    loss_held_out: float | None = None
    key: Key


class Declared(ReportModel):
    """Which cells the report promises.

    Attributes:
        tasks: the main metric of each task, in the order of the tables.
        scored: models that have a score on every task.
        exported: models that have a file for each of ``exported_tasks`` in each of ``precisions``.
        exported_tasks: see there.
        precisions: see there.
        trained: steps that have a row of training.
    """

    tasks: dict[str, str]
    scored: tuple[str, ...]
    exported: tuple[str, ...] = ()
    exported_tasks: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()


class MissingCell(ReportModel):
    """A declared cell that has no number, and why.

    Cells are named as :meth:`Results.cells` names them; ``export/trim/pos/int8`` stands for all of that row.
    """

    cell: str
    reason: Annotated[str, Field(min_length=1)]


class Results(ReportModel):
    """All that a report says."""

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
    costs: tuple[Cost, ...] = ()
    study: StudyDescription | None = None
    absent: tuple[MissingCell, ...] = ()

    def score(self, model: str, task: str, metric: str | None = None) -> TaskScore | None:
        """Gives a model's score on a task, by its main metric unless another is named; None where absent."""
        wanted = (model, task, metric or self.declared.tasks.get(task))
        return next((one for one in self.scores if (one.model, one.task, one.metric) == wanted), None)

    def comparison(self, model: str, other: str, task: str) -> ComparisonRow | None:
        """Gives how a model stands beside another on a task; None where they were not compared."""
        wanted = (model, other, task)
        return next((one for one in self.comparisons if (one.model, one.other, one.task) == wanted), None)

    def by_role(self, role: str) -> tuple[ModelResult, ...]:
        """Gives the models of a role, in their order."""
        return tuple(one for one in self.models if one.role == role)

    def keys(self) -> set[str]:
        """Gives every manifest key a number came from."""
        files, texts = (self.exports, self.copies), (self.held_out, self.leakage)
        listed = (self.models, self.training, self.comparisons, *files, *texts)
        single = [one.key for rows in listed for one in rows]
        timed = [one.latency_key for one in self.exports if one.latency_key is not None]
        scored = (key for one in self.scores for key in one.keys)
        return {*single, *timed, *scored, *(key for one in self.costs for key in one.keys)}

    def cells(self) -> Iterator[tuple[str, bool]]:
        """Gives every declared cell and whether it is filled."""
        for model in self.models:
            for field in ("shape", "parameters", "size_bytes"):
                yield f"model/{model.id}/{field}", getattr(model, field) is not None
        for name in self.declared.scored:
            for task in self.declared.tasks:
                yield f"score/{name}/{task}", self.score(name, task) is not None
        yield from self._export_cells()
        rows = {one.step: one for one in self.training}
        for step in self.declared.trained:
            yield from _fields(f"training/{step}", rows.get(step), TrainingRecord, ("step", "key"))

    def _export_cells(self) -> Iterator[tuple[str, bool]]:
        files = {(one.model, one.task, one.precision): one for one in self.exports}
        base = {(one.id, "fp32") for one in self.by_role("teacher")[:1]}
        for model in self.declared.exported:
            for task in self.declared.exported_tasks:
                for precision in self.declared.precisions:
                    own = ("ratio",) if (model, precision) in base else ()
                    name = f"export/{model}/{task}/{precision}"
                    named = ("model", "task", "precision", "reason", "batch_size", "key", "latency_key")
                    yield from _fields(
                        name, files.get((model, task, precision)), ExportResult, (*named, *own)
                    )

    def problems(self, manifests: Collection[str] | None = None) -> list[str]:
        """Gives what is wrong: cells neither filled nor explained, and references to nothing.

        Args:
            manifests: keys of the manifests there are; None leaves keys unchecked.
        """
        cells = dict(self.cells())
        absent = {one.cell: _under(one.cell, cells) for one in self.absent}
        explained = {cell for under in absent.values() for cell in under}
        found = [
            f"{cell} is neither filled nor absent" for cell in cells if not cells[cell] | (cell in explained)
        ]
        found += [f"{cell} is absent and yet filled" for cell in sorted(explained) if cells[cell]]
        found += [f"{name} is absent but was never declared" for name, under in absent.items() if not under]
        known = {one.id for one in self.models}
        named = {*(one.model for one in self.scores), *(one.model for one in self.exports)}
        named |= {*(one.model for one in self.held_out), *(one.model for one in self.copies)}
        named |= {name for one in self.comparisons for name in (one.model, one.other)}
        named |= {*self.declared.scored, *self.declared.exported}
        found += [f"model '{name}' is named but not described" for name in sorted(named - known)]
        found += [f"{name} appears twice" for name in self._twice()]
        if manifests is not None:
            found += [f"manifest {key} does not exist" for key in sorted(self.keys() - set(manifests))]
        return found

    def _twice(self) -> list[str]:
        names = [f"model {one.id}" for one in self.models]
        names += [f"score {one.model}/{one.task}/{one.metric}" for one in self.scores]
        names += [f"export {one.model}/{one.task}/{one.precision}" for one in self.exports]
        names += [f"copy {one.model}/{one.task}/{one.precision}" for one in self.copies]
        names += [f"training {one.step}" for one in self.training]
        return sorted({name for name in names if names.count(name) > 1})

    def check(self, manifests: Collection[str] | None = None) -> None:
        """Refuses results with any of :meth:`problems`.

        Raises:
            HarnessError: tells the first of them and how many there are.
        """
        found = self.problems(manifests)
        if found:
            told = "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
            raise HarnessError(
                f"results: wanted every declared cell filled or explained; got {told}; "
                f"run the stage that makes them, or list them as absent with a reason"
            )


def _under(name: str, cells: Collection[str]) -> list[str]:
    return [cell for cell in cells if cell == name or cell.startswith(f"{name}/")]


def _fields(
    name: str, row: ReportModel | None, kind: type[ReportModel], skipped: Collection[str]
) -> Iterator[tuple[str, bool]]:
    for field in kind.model_fields:
        if field not in skipped:
            yield f"{name}/{field}", getattr(row, field, None) is not None
