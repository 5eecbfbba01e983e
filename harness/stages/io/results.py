"""Collect the facts of all stages of a plan into the report's results; no number is computed here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, JsonValue

from harness.languages import LANGUAGES
from harness.measure.environment import describe
from harness.pipeline import manifest as manifests
from harness.pipeline.manifest import Manifest
from harness.precisions import FP32
from harness.report import results as schema
from harness.report.exported import ExportResult, PrecisionResult
from harness.report.render import write_results
from harness.report.texts import HeldOut
from harness.report.training import TrainingRecord, thin_curve
from harness.report.values import Cost, Estimate, IntervalValue, SpeedRatio, StudyDescription
from harness.stages.io.export_facts import (
    ExportFacts,
    GraphFacts,
    Int8Facts,
    LatencyFacts,
    PackageFacts,
    PrecisionsFacts,
    SpeedFacts,
    TimingFacts,
)
from harness.stages.io.facts import (
    CompareFacts,
    FetchFacts,
    PretrainFacts,
    ScoringFacts,
    SizeFacts,
    StepFacts,
    TrainedStepFacts,
    TrainingFacts,
)
from harness.stages.io.finetuning_notes import describe_fitting
from harness.stages.io.result_notes import (
    collect_finetuning_notes,
    collect_leakage,
    collect_reading_notes,
    collect_repeats,
    collect_teacher_notes,
)
from harness.stages.table import KINDS, read_facts
from harness.tasks import TASKS

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

Manifests = Mapping[str, Manifest]
"""The manifest of each stage that the report reads, by the stage's id."""

_NONE = dict.fromkeys(("shape", "parameters", "size_bytes"), "it is no encoder and has none")
_WITHOUT = {"majority": _NONE, "tfidf": _NONE, "static": {"shape": "it has no layers, only embeddings"}}
"""The cells that baselines lack, and why."""
_UNTRAINED = {
    "peak_memory_bytes": "this system does not report a process's peak memory",
    "loss_final": "too few steps to log a loss",
    "loss_held_out": "it is trained on many languages; the loss on this one is the next step's",
}
"""Reasons for cells that a training may lack."""
_RESUMED = {
    "tokens_per_s": "the training was interrupted and resumed, so that its speed was not measured whole",
    "wall_s": "the training was interrupted and resumed, so that its time was not measured whole",
    "peak_memory_bytes": (
        "the training was interrupted and resumed, so that the peak of all attempts was not measured"
    ),
}
"""Reasons for cells that a resumed training lacks."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True)


class _ScoredModel(_Settings):
    """A model of the report: its id, the name in tables, and the stage that makes it."""

    id: str
    name: str
    role: Literal["teacher", "student", "baseline"]
    stage: str


class _ReportSettings(_Settings):
    """The config of the stages ``report`` and ``leaderboard``; only a leaderboard has the last four.

    Of the models named in `scored`, those that `unscored` names are described without scores.
    """

    language: str
    recipe: str
    recipe_source: str
    scale: str
    data: str
    teacher: str | None = None
    scored: tuple[_ScoredModel, ...]
    unscored: tuple[str, ...] = ()
    tasks: tuple[str, ...]
    precisions: tuple[str, ...]
    exported: dict[str, str] | None = None
    exported_tasks: tuple[str, ...] | None = None
    made_by: dict[str, tuple[str, ...]] = {}
    study: StudyDescription | None = None

    @property
    def with_scores(self) -> tuple[_ScoredModel, ...]:
        """The models that were scored."""
        return tuple(model for model in self.scored if model.id not in self.unscored)

    @property
    def final_student(self) -> str:
        """The id of the last student, which the recipe makes."""
        return next(model.id for model in reversed(self.scored) if model.role == "student")


def write_collected(context: Context) -> schema.Results:
    """Write ``results.json`` from the manifests of the stage's inputs; return its content.

    Raises:
        HarnessError: a cell that the plan declares has neither a number nor a reason.
    """
    read = {role: manifests.read(path) for role, path in context.inputs.items()}
    results = collect_results(context.config, read)
    results.check({manifest.key for manifest in read.values()})
    write_results(results, context.out)
    return results


def collect_results(config: Mapping[str, Any], read: Manifests) -> schema.Results:
    """Return the results of a run from its report's config and its stages' manifests."""
    settings = _ReportSettings.model_validate(config)
    tasks = {name: TASKS[name].metrics[0] for name in settings.tasks}
    roles = settings.exported or {"teacher": "teacher", settings.final_student: "student"}
    exported = tuple(roles) if tasks else ()
    exported_tasks = settings.exported_tasks or settings.tasks
    trained = tuple(name for name, one in read.items() if _trains(one))
    return schema.Results(
        run=schema.Run(
            language=settings.language,
            language_name=_name_language(settings.language),
            recipe=settings.recipe,
            recipe_source=settings.recipe_source,
            scale=settings.scale,
            teacher=settings.teacher or _name_teacher(read["teacher"]),
            data=settings.data,
        ),
        environment=cast("dict[str, JsonValue]", describe()),
        declared=schema.Declared(
            tasks=tasks,
            scored=tuple(model.id for model in settings.with_scores) if tasks else (),
            exported=exported,
            exported_tasks=exported_tasks,
            precisions=settings.precisions,
            trained=trained,
        ),
        models=tuple(_collect_model(model, read) for model in settings.scored if model.stage in read),
        scores=tuple(
            score
            for model in settings.with_scores
            for task in tasks
            for score in _collect_scores(model, task, read)
        ),
        comparisons=tuple(_collect_comparisons(read.get("compare"))),
        exports=tuple(
            row
            for model in exported
            for task in exported_tasks
            for row in _collect_exports(model, roles[model], task, read)
        ),
        copies=tuple(_collect_copies(settings.final_student, read.get("precisions"))),
        held_out=tuple(_collect_held_out(settings, read)),
        leakage=tuple(collect_leakage(settings.tasks, read["tasks"])),
        repeats=tuple(collect_repeats(settings.tasks, read["tasks"])),
        reading=tuple(collect_reading_notes(settings.tasks, read)),
        finetuning=tuple(
            collect_finetuning_notes(settings.tasks, [one.id for one in settings.with_scores], read)
        ),
        teacher_notes=tuple(collect_teacher_notes(read)),
        training=tuple(_collect_training(name, read[name]) for name in trained),
        costs=tuple(_add_costs(model, stages, read) for model, stages in settings.made_by.items()),
        study=settings.study,
        absent=tuple(_explain_missing_cells(settings, read, trained)),
    )


def _trains(manifest: Manifest) -> bool:
    return issubclass(KINDS[manifest.kind].facts, PretrainFacts | TrainedStepFacts)


def _read_training(manifest: Manifest) -> TrainingFacts | None:
    facts = read_facts(manifest, BaseModel)
    return facts.training if isinstance(facts, PretrainFacts | TrainedStepFacts) else None


def _name_language(code: str) -> str:
    """Return a language's name, or its code where only the user's data folder knows the language."""
    return LANGUAGES[code].name if code in LANGUAGES else code


def _name_teacher(manifest: Manifest) -> str:
    if manifest.kind == "pretrain":
        shape = read_facts(manifest, PretrainFacts).shape
        return f"{shape.family}, {shape.layers} layers of {shape.hidden}, trained here"
    return read_facts(manifest, FetchFacts).teacher.name


def _collect_model(model: _ScoredModel, read: Manifests) -> schema.ModelResult:
    manifest = read[model.stage]
    facts = read_facts(manifest, BaseModel)
    size = facts if isinstance(facts, SizeFacts) else SizeFacts()
    return schema.ModelResult(
        id=model.id,
        name=model.name,
        role=model.role,
        step=model.stage if model.role == "student" else None,
        shape=None if size.shape is None else size.shape.model_dump(exclude={"tied"}),
        parameters=size.parameters,
        size_bytes=size.size_bytes,
        key=manifest.key,
    )


def _collect_scores(model: _ScoredModel, task: str, read: Manifests) -> list[schema.TaskScore]:
    manifest = read[f"score.{task}.{model.id}"]
    scores = read_facts(manifest, ScoringFacts).scores
    return [
        schema.make_score(
            model.id,
            task,
            metric,
            score.values,
            seeds=scores.by_seed,
            interval=IntervalValue(low=score.low, high=score.high),
            n_test=scores.n_test,
            keys=[manifest.key],
            signature=scores.signature,
        )
        for metric, score in scores.metrics.items()
    ]


def _collect_comparisons(manifest: Manifest | None) -> list[schema.ComparisonRow]:
    """Return the rows of the stage ``compare``; none where nothing was scored."""
    if manifest is None:
        return []
    return [
        schema.ComparisonRow.model_validate(row.model_dump() | {"key": manifest.key})
        for row in read_facts(manifest, CompareFacts).comparisons
    ]


def _collect_exports(model: str, role: str, task: str, read: Manifests) -> list[ExportResult]:
    exported, timed = read[f"export.{task}.{role}"], read["latency"]
    facts = read_facts(exported, ExportFacts)
    package = None if role == "teacher" else read.get(f"package.{task}")
    agreement = None if package is None else read_facts(package, PackageFacts).label_agreement
    files: dict[str, GraphFacts | Int8Facts | None] = {FP32: facts.fp32, "int8": facts.int8}
    rows = []
    for precision, file in files.items():
        if file is None:
            continue
        timing = _choose_timing(read_facts(timed, LatencyFacts).latency, task, role, precision)
        base = (role, precision) == ("teacher", FP32)
        rows.append(
            ExportResult(
                model=model,
                task=task,
                precision=precision,
                graph=facts.fp32.graph,
                reason=facts.fp32.reason if precision == FP32 else None,
                size_bytes=file.size_bytes,
                max_abs_delta=file.max_abs_delta,
                argmax_agreement=file.argmax_agreement,
                label_agreement=(agreement or {}).get(precision),
                p50_ms=timing.p50_ms,
                p90_ms=timing.p90_ms,
                ratio=None if base else _convert_ratio(timing.speed_ratio),
                threads=timing.threads,
                length=timing.length,
                batch_size=timing.batch_size,
                key=exported.key,
                latency_key=timed.key,
            )
        )
    return rows


def _choose_timing(rows: list[TimingFacts], task: str, role: str, precision: str) -> TimingFacts:
    """Return a file's timing with the longest input on the fewest threads; latency.json has the others."""
    own = [row for row in rows if (row.task, row.role, row.precision) == (task, role, precision)]
    return min(own, key=lambda row: (row.threads, -row.length))


def _convert_ratio(speed: SpeedFacts) -> SpeedRatio:
    return SpeedRatio(value=speed.value, interval=IntervalValue(low=speed.low, high=speed.high))


def _collect_copies(model: str, manifest: Manifest | None) -> list[PrecisionResult]:
    """Return the rows of the stage ``precisions``; none where the scale names no precision."""
    if manifest is None:
        return []
    return [
        PrecisionResult(
            model=model,
            task=copy.task,
            precision=copy.precision,
            size_bytes=copy.size_bytes,
            metric=copy.verdict.metric,
            num_items=copy.verdict.num_items,
            original=copy.verdict.original,
            score=copy.verdict.score,
            drop=Estimate(value=copy.verdict.drop, low=copy.verdict.low, high=copy.verdict.high),
            allowed=copy.verdict.allowed,
            passed=copy.verdict.passed,
            kept_parts=tuple(copy.kept_parts),
            key=manifest.key,
        )
        for copy in read_facts(manifest, PrecisionsFacts).copies
    ]


def _collect_training(name: str, manifest: Manifest) -> TrainingRecord:
    """Return a training's cost and losses; time and memory only where one attempt made the stage."""
    facts = read_facts(manifest, BaseModel)
    assert isinstance(facts, PretrainFacts | TrainedStepFacts)
    fitting_tokens = facts.training.fitting_tokens
    return TrainingRecord(
        step=name,
        tokens=facts.training.tokens,
        tokens_per_s=facts.training.tokens_per_s,
        wall_s=None if manifest.resumed else manifest.wall_s,
        peak_memory_bytes=None if manifest.resumed else manifest.peak_memory_bytes,
        loss_final=facts.training.losses[-1].loss if facts.training.losses else None,
        loss_held_out=facts.held_out.loss if isinstance(facts, TrainedStepFacts) else None,
        note=None if fitting_tokens is None else describe_fitting(fitting_tokens),
        curve=thin_curve([(point.step, point.loss) for point in facts.training.losses]),
        key=manifest.key,
    )


def _add_costs(model: str, stages: tuple[str, ...], read: Manifests) -> Cost:
    """Return the cost of all steps of one recipe, as if it shared none with another recipe."""
    made = [read[name] for name in stages]
    trainings = [_read_training(one) for one in made]
    return Cost(
        model=model,
        tokens=sum(one.tokens for one in trainings if one is not None),
        wall_s=None if any(one.resumed for one in made) else sum(one.wall_s for one in made),
        keys=tuple(dict.fromkeys(one.key for one in made)),
    )


def _collect_held_out(settings: _ReportSettings, read: Manifests) -> Iterator[HeldOut]:
    """Return the loss of each model whose stage measured it."""
    for model in settings.scored:
        manifest = read.get(model.stage)
        facts = None if manifest is None else read_facts(manifest, BaseModel)
        if manifest is not None and isinstance(facts, StepFacts):
            loss, per_byte = facts.held_out.loss, facts.held_out.loss_per_byte
            yield HeldOut(model=model.id, loss=loss, loss_per_byte=per_byte, key=manifest.key)


def _explain_missing_cells(
    settings: _ReportSettings, read: Manifests, trained: tuple[str, ...]
) -> Iterator[schema.MissingCell]:
    for model in settings.scored:
        for field, reason in _WITHOUT.get(model.id, {}).items():
            yield schema.MissingCell(cell=f"model/{model.id}/{field}", reason=reason)
    for name in trained:
        row = _collect_training(name, read[name])
        for field, reason in (_UNTRAINED | (_RESUMED if read[name].resumed else {})).items():
            if getattr(row, field) is None:
                yield schema.MissingCell(cell=f"training/{name}/{field}", reason=reason)
