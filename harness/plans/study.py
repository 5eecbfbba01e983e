"""The plan of a study: several recipes, or one recipe's variants, compared on equal terms. Imports no torch.

All share teacher, data, seeds and machine, and every step that does not differ: equal stages have equal keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from harness.baselines import select_baselines
from harness.config.amounts import TrainingSettings
from harness.config.pretraining import ResolvedPretrain
from harness.config.scale import Scale
from harness.config.steps.adapt import ResolvedAdapt
from harness.config.steps.base import TEACHER
from harness.config.steps.distill import ResolvedDistill
from harness.config.study import Entries, Entry
from harness.errors import HarnessError, UsageError
from harness.pipeline.plan import Plan, Stage
from harness.plans.evaluation import (
    TEACHER_MODEL,
    EvaluatedModel,
    compare_with,
    evaluate_baseline,
    plan_baselines,
    plan_comparison,
    plan_scores,
)
from harness.plans.exports import plan_export, plan_latency
from harness.plans.recipe_steps import RecipePlan, plan_recipe
from harness.plans.run import make_report_header
from harness.plans.run_inputs import RunInputs, plan_inputs
from harness.plans.stage import make_stage
from harness.tasks import find_task


class RefusedError(UsageError):
    """Some entries cannot take part; `lines` has the reason of each."""

    def __init__(self, lines: Sequence[str], asked: int) -> None:
        self.lines = tuple(dict.fromkeys(lines))
        super().__init__(
            f"{len(self.lines)} of {asked} cannot take part; nothing was run; "
            "correct or leave out what is named"
        )


class Workload(NamedTuple):
    """The amount of work of a study, whether done already or not; what several entries share counts once.

    Attributes:
        num_stages: stages of the plan.
        num_distinct: the stages that no earlier stage equals.
        tokens: text to train on, teacher included, as far as steps state tokens.
        num_epoch_steps: steps that state epochs in place of tokens.
        num_finetunings: fine-tunings of a model on a task with a seed.
    """

    num_stages: int
    num_distinct: int
    tokens: int
    num_epoch_steps: int
    num_finetunings: int


@dataclass(frozen=True)
class StudyPlan:
    """A study before it has begun.

    Attributes:
        plan: its stages.
        entries: those that take part; of several with equal steps and text, the first.
        tasks: the tasks that the data has.
        missing_tasks: tasks of the scale that the data does not have, with the reason.
    """

    plan: Plan
    entries: tuple[Entry, ...]
    tasks: tuple[str, ...]
    missing_tasks: Mapping[str, str]

    @property
    def workload(self) -> Workload:
        """The amount of work of the study."""
        by_key = {self.plan.keys[stage.id]: stage for stage in self.plan}
        trainings = [training for stage in by_key.values() for training in _list_trainings(stage)]
        return Workload(
            num_stages=len(self.plan),
            num_distinct=len(by_key),
            tokens=sum(training.tokens or 0 for training in trainings),
            num_epoch_steps=sum(training.epochs is not None for training in trainings),
            num_finetunings=sum(
                len(stage.config["seeds"]) for stage in by_key.values() if stage.kind == "score"
            ),
        )


def _list_trainings(stage: Stage) -> list[TrainingSettings]:
    """Return the trainings of a stage on text; a teacher that begins shallow, or sparse, is trained twice."""
    step = stage.step
    if isinstance(step, ResolvedPretrain) and step.shallow:
        return [step.training, step.training.model_copy(update={"tokens": step.shallow.tokens})]
    if isinstance(step, ResolvedAdapt) and step.density is not None:
        return [step.training, step.training]
    if isinstance(step, ResolvedPretrain | ResolvedAdapt | ResolvedDistill):
        return [step.training]
    return []


@dataclass(frozen=True)
class StudyInfo:
    """The question of a study, as its report states it.

    Attributes:
        name: of the study.
        source: who asks.
        question: in one line.
        paper: what the paper answers; None where there is no paper.
        reference: id of the entry that the others are compared with; None: the teacher alone.
    """

    name: str
    source: str
    question: str
    paper: str | None = None
    reference: str | None = None


class _PlannedEntry(NamedTuple):
    """An entry with its steps and their stages."""

    entry: Entry
    steps: RecipePlan

    @property
    def stages(self) -> list[str]:
        """The ids of the stages of the steps."""
        return [stage.id for stage in self.steps.stages]


def plan_study(info: StudyInfo, language: str, asked: Entries, scale: Scale) -> StudyPlan:
    """Return the plan of a study.

    Args:
        info: its question; the reference is the id of an entry.
        language: code.
        asked: the entries to be compared, and why others cannot take part.
        scale: how much of everything; a value that an entry varies replaces the scale's.

    Raises:
        RefusedError: some entries cannot take part; the error has all of them.
        UsageError: the language does not exist, the data has no task, or there is nothing to compare.
    """
    if not asked.entries:
        raise RefusedError(asked.refusals, len(asked.refusals))
    others = {str(entry.recipe.task_language) for entry in asked.entries}
    if len(others) > 1:
        raise UsageError(
            f"{info.name}: expected recipes that learn the tasks in one language; got task_language "
            f"{', '.join(sorted(others))}; compare those with the same"
        )
    inputs = plan_inputs(language, asked.entries[0].recipe, scale)
    fitting, lines = _plan_entries(asked.entries, inputs, scale)
    if asked.refusals or lines:
        raise RefusedError([*asked.refusals, *lines], len(asked.entries) + len(asked.refusals))
    if not inputs.tasks.scored:
        raise UsageError(f"{info.name}: expected a task to score on; the data has none in '{language}'")
    distinct, duplicates = _merge_duplicates(fitting)
    info = replace(info, reference=duplicates.get(info.reference or "", info.reference))
    stages = _assemble(info, distinct, inputs, scale)
    entries = tuple(planned.entry for planned in distinct)
    return StudyPlan(Plan(stages), entries, inputs.tasks.scored, inputs.tasks.missing)


def _plan_entries(
    entries: Sequence[Entry], inputs: RunInputs, scale: Scale
) -> tuple[list[_PlannedEntry], list[str]]:
    """Return every entry that fits, and a line for each that does not."""
    fitting, lines = [], []
    for entry in entries:
        varied = [target for target, value in entry.changes.items() if value is not None]
        try:
            steps = plan_recipe(entry.recipe, inputs, scale, prefix=f"{entry.id}.", varied=varied)
        except HarnessError as error:
            reason = str(error)
            lines.append(reason if reason.startswith(entry.name) else f"{entry.name}: {reason}")
        else:
            fitting.append(_PlannedEntry(entry, steps))
    return fitting, lines


def _merge_duplicates(fitting: Sequence[_PlannedEntry]) -> tuple[list[_PlannedEntry], dict[str, str]]:
    """Return the entries without those whose steps and text another has, and the id that each of those gets.

    The name of an entry that stays has the names of its duplicates too.
    """
    distinct: list[_PlannedEntry] = []
    duplicates: dict[str, str] = {}
    for planned in fitting:
        index = next((i for i, other in enumerate(distinct) if _have_equal_steps(planned, other)), None)
        if index is None:
            distinct.append(planned)
            continue
        kept = distinct[index]
        name = f"{planned.entry.name} = {kept.entry.name}"
        distinct[index] = kept._replace(entry=replace(kept.entry, name=name))
        duplicates[planned.entry.id] = kept.entry.id
    return distinct, duplicates


def _have_equal_steps(planned: _PlannedEntry, other: _PlannedEntry) -> bool:
    """Whether two entries have equal steps, which read the same text."""
    return (planned.steps.steps, planned.steps.corpora) == (other.steps.steps, other.steps.corpora)


def _assemble(
    info: StudyInfo, entries: Sequence[_PlannedEntry], inputs: RunInputs, scale: Scale
) -> list[Stage]:
    """Return the stages of a study, each after the stages that it reads."""
    students = [
        EvaluatedModel(planned.entry.id, planned.entry.name, "student", planned.stages[-1])
        for planned in entries
    ]
    tasks = inputs.tasks.scored
    rows = [row for row in select_baselines(scale.score.baselines) if not row.of_recipe]
    evaluated = [TEACHER_MODEL, *students, *(evaluate_baseline(row, tasks) for row in rows)]
    corpora = {corpus.id: corpus for planned in entries for corpus in planned.steps.corpora}
    stages = [*inputs.stages, *corpora.values()]
    stages += [stage for planned in entries for stage in planned.steps.stages]
    firsts = (planned.steps.stages[0] for planned in entries)
    trimmed = next((stage.id for stage in firsts if stage.kind == "trim"), None)
    stages += plan_baselines(evaluated, scale, trimmed=trimmed)
    stages += _plan_evaluation(info, entries, evaluated, tasks, scale)
    leaderboard = _describe_study(info, entries, evaluated, inputs, scale)
    stages.append(
        make_stage("leaderboard", "leaderboard", leaderboard, {stage.id: stage.id for stage in stages})
    )
    return stages


def choose_timed_task(tasks: Sequence[str]) -> str:
    """Return the task whose models are exported and timed: the first on whole texts, else the first."""
    return next((task for task in tasks if find_task(task).kind == "sequence"), tasks[0])


def _plan_evaluation(
    info: StudyInfo,
    entries: Sequence[_PlannedEntry],
    evaluated: Sequence[EvaluatedModel],
    tasks: Sequence[str],
    scale: Scale,
) -> list[Stage]:
    """Return the stages that score, compare, export and time."""
    models = [model.id for model in evaluated if model.role != "baseline"]
    distillations = {
        planned.entry.id: planned.steps.distillation for planned in entries if planned.steps.distillation
    }
    pairs = compare_with(evaluated, TEACHER)
    if info.reference is not None:
        students = [model for model in evaluated if model.role == "student"]
        pairs += compare_with(students, info.reference)
    timed = choose_timed_task(tasks)
    return [
        *plan_scores(evaluated, tasks, scale, kept=models, distillations=distillations),
        plan_comparison(evaluated, tasks, pairs),
        *(plan_export(model, f"score.{timed}.{model}", timed, scale) for model in models),
        plan_latency(models, [timed], scale),
    ]


def _describe_study(
    info: StudyInfo,
    entries: Sequence[_PlannedEntry],
    evaluated: Sequence[EvaluatedModel],
    inputs: RunInputs,
    scale: Scale,
) -> dict[str, Any]:
    """Return what the leaderboard states of the study."""
    tasks = inputs.tasks
    return {
        "language": inputs.language,
        "recipe": info.name,
        "recipe_source": info.source,
        "scored": [vars(model) for model in evaluated],
        "tasks": list(tasks.scored),
        "missing_tasks": dict(tasks.missing),
        "exported": {model.id: model.id for model in evaluated if model.role != "baseline"},
        "exported_tasks": [choose_timed_task(tasks.scored)],
        "made_by": {planned.entry.id: planned.stages for planned in entries},
        "study": {"question": info.question, "paper": info.paper, "reference": info.reference},
        **make_report_header(scale),
    }
