"""Strings together the stages of a study: several recipes, or one recipe's variants, on equal terms.

All share teacher, data, seeds and machine, and every step that does not differ: equal stages have equal keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from harness.baselines import select_baselines
from harness.config.resolve import resolve
from harness.config.scale import Scale
from harness.config.shape import Shape
from harness.config.steps.base import TEACHER, PlannedStep
from harness.config.study import Entries, Entry
from harness.errors import HarnessError, UsageError
from harness.pipeline.plan import Plan, Stage
from harness.plans.evaluation import (
    EvaluatedModel,
    TaskDistillationPlan,
    baseline_stages,
    encoder_steps,
    evaluate_baseline,
    make_stage,
    plan_comparison,
    plan_task_distillation,
    score_models,
)
from harness.plans.run import (
    RunInputs,
    corpus_of,
    plan_export,
    plan_inputs,
    plan_latency,
    plan_mixed_corpus,
    plan_steps,
    report_header,
)
from harness.tasks import task_named


class RefusedError(UsageError):
    """Some entries cannot take part; `lines` says of each why."""

    def __init__(self, lines: Sequence[str], asked: int) -> None:
        self.lines = tuple(dict.fromkeys(lines))
        super().__init__(
            f"{len(self.lines)} of {asked} cannot take part; nothing was run; "
            "correct or leave out what is named"
        )


class Workload(NamedTuple):
    """How much a study is, whether done already or not; what several entries share counts once.

    Attributes:
        stages: of the plan.
        different: of them, those that no other equals.
        tokens: of text to train on, teacher included, as far as steps state tokens.
        passes: how many steps state passes over the text in their place.
        num_finetunings: of a model on a task with a seed.
    """

    stages: int
    different: int
    tokens: int
    passes: int
    num_finetunings: int


@dataclass(frozen=True)
class StudyPlan:
    """A study before it has begun.

    Attributes:
        plan: its stages.
        entries: those that take part; of several that come to the same, the first.
        tasks: the tasks the data has.
        missing_tasks: tasks of the scale that the data has not, with the reason.
    """

    plan: Plan
    entries: tuple[Entry, ...]
    tasks: tuple[str, ...]
    missing_tasks: Mapping[str, str]

    @property
    def work(self) -> Workload:
        """How much the study is."""
        by_key = {self.plan.keys[stage.id]: stage for stage in self.plan}
        trained = [stage.config for stage in by_key.values() if "learning_rate" in stage.config]
        trained += [config["shallow"] for config in trained if config.get("shallow")]
        num_finetunings = sum(
            len(stage.config["seeds"]) for stage in by_key.values() if stage.kind == "score"
        )
        tokens = sum(int(config.get("tokens", 0)) for config in trained)
        passes = sum("epochs" in config for config in trained)
        return Workload(len(self.plan), len(by_key), tokens, passes, num_finetunings)


@dataclass(frozen=True)
class StudyInfo:
    """What a study is about: see `harness.report.values.Study`, and the name and source it is told by."""

    name: str
    source: str
    question: str
    paper: str | None = None
    reference: str | None = None


def plan_study(topic: StudyInfo, language: str, found: Entries, scale: Scale) -> StudyPlan:
    """Gives the plan of a study.

    Args:
        topic: what it is about; its reference is the id of an entry.
        language: code.
        found: those to be compared, and why others are out already.
        scale: how much of everything; a value that an entry varies goes before the scale's own.

    Raises:
        RefusedError: some cannot take part; all of them are told.
        UsageError: the language does not exist, the data has no task, or nothing is to be compared.
    """
    if not found.entries:
        raise RefusedError(found.refusals, len(found.refusals))
    opening = plan_inputs(language, found.entries[0].recipe, scale)
    made, lines = _resolve(found.entries, scale, opening.shape, language)
    if found.refusals or lines:
        raise RefusedError([*found.refusals, *lines], len(found.entries) + len(found.refusals))
    if not opening.tasks:
        raise UsageError(f"{topic.name}: expected a task to score on; the data has none in '{language}'")
    chosen, twins = _merge(found.entries, made, language)
    topic = replace(topic, reference=twins.get(topic.reference or "", topic.reference))
    steps = {entry.id: made[entry.id] for entry in chosen}
    return _string(chosen, steps, topic=topic, language=language, opening=opening, scale=scale)


def _resolve(
    entries: Sequence[Entry], scale: Scale, shape: Shape, language: str
) -> tuple[dict[str, tuple[PlannedStep, ...]], list[str]]:
    """Gives the steps of every entry that fits, by id, and a line for each that does not."""
    made: dict[str, tuple[PlannedStep, ...]] = {}
    lines = []
    for entry in entries:
        try:
            varied = [target for target, value in entry.changes.items() if value is not None]
            made[entry.id] = resolve(entry.recipe, scale, shape, varied)
            plan_mixed_corpus(language, entry.recipe, scale)
        except HarnessError as error:
            told = str(error)
            lines.append(told if told.startswith(entry.name) else f"{entry.name}: {told}")
    return made, lines


def _merge(
    entries: Sequence[Entry], made: Mapping[str, tuple[PlannedStep, ...]], language: str
) -> tuple[tuple[Entry, ...], dict[str, str]]:
    """Gives the entries without those whose steps and text another has, and whose id stands for theirs.

    The name of the one that stays tells of both.
    """
    twins: dict[str, str] = {}
    alike = {entry.id: (made[entry.id], corpus_of(language, entry.recipe)) for entry in entries}
    chosen: list[Entry] = []
    for entry in entries:
        twin = next((one for one in chosen if alike[one.id] == alike[entry.id]), None)
        if twin is None:
            chosen.append(entry)
        else:
            both = Entry(twin.id, f"{entry.name} = {twin.name}", twin.recipe, twin.changes)
            chosen[chosen.index(twin)] = both
            twins[entry.id] = twin.id
    return tuple(chosen), twins


def _string(
    entries: tuple[Entry, ...],
    steps: Mapping[str, tuple[PlannedStep, ...]],
    *,
    topic: StudyInfo,
    language: str,
    opening: RunInputs,
    scale: Scale,
) -> StudyPlan:
    own = {id_: encoder_steps(made) for id_, made in steps.items()}
    taught = {id_: plan_task_distillation(made, f"{id_}.") for id_, made in steps.items()}
    distillations = {id_: distillation for id_, distillation in taught.items() if distillation is not None}
    last = {entry.id: f"{entry.id}.{own[entry.id][-1].id}" for entry in entries}
    scored = [EvaluatedModel(TEACHER, "teacher", "teacher", TEACHER)]
    scored += [EvaluatedModel(entry.id, entry.name, "student", last[entry.id]) for entry in entries]
    scored += _baselines(scale, opening.tasks)
    beside = {
        stage.id: stage for entry in entries for stage in plan_mixed_corpus(language, entry.recipe, scale)
    }
    stages = [*opening.stages, *beside.values()]
    for entry in entries:
        stages += plan_steps(own[entry.id], f"{entry.id}.", corpus_of(language, entry.recipe))
    stages += baseline_stages(own[entries[0].id], scale, scored)
    stages += _proof(topic, scored, scale, opening.tasks, distillations)
    made_by = {id_: [f"{id_}.{step.id}" for step in made] for id_, made in own.items()}
    config = _told(scored, made_by, topic=topic, language=language, opening=opening, scale=scale)
    stages.append(make_stage("leaderboard", "leaderboard", config, {stage.id: stage.id for stage in stages}))
    return StudyPlan(Plan(stages), entries, opening.tasks, opening.missing_tasks)


def _baselines(scale: Scale, tasks: Sequence[str]) -> list[EvaluatedModel]:
    """Return the scale's baselines that do not depend on one recipe's student."""
    rows = select_baselines(scale.score.baselines)
    return [evaluate_baseline(row, tasks) for row in rows if not row.of_recipe]


def timed_task(tasks: Sequence[str]) -> str:
    """Gives the task whose models are exported and timed: the first of whole texts, else the first."""
    return next((task for task in tasks if task_named(task).kind == "sequence"), tasks[0])


def _proof(
    topic: StudyInfo,
    scored: Sequence[EvaluatedModel],
    scale: Scale,
    tasks: Sequence[str],
    distillations: Mapping[str, TaskDistillationPlan],
) -> list[Stage]:
    """Gives the stages that score, compare, export and time."""
    models = [one.id for one in scored if one.role != "baseline"]
    stages = score_models(scored, scale, tasks, kept=models, distillations=distillations)
    pairs = [(one.id, TEACHER) for one in scored if one.id != TEACHER]
    if topic.reference is not None:
        students = [one.id for one in scored if one.role == "student"]
        pairs += [(one, topic.reference) for one in students if one != topic.reference]
    stages.append(plan_comparison([one.id for one in scored], tasks, pairs))
    timed = timed_task(tasks)
    stages += [plan_export(one, one, timed, scale) for one in models]
    return [*stages, plan_latency([timed], scale, models)]


def _told(
    scored: Sequence[EvaluatedModel],
    made_by: Mapping[str, list[str]],
    *,
    topic: StudyInfo,
    language: str,
    opening: RunInputs,
    scale: Scale,
) -> dict[str, Any]:
    """Gives what the leaderboard is told of the study."""
    models = [one.id for one in scored if one.role != "baseline"]
    return {
        "language": language,
        "recipe": topic.name,
        "recipe_source": topic.source,
        "scored": [vars(one) for one in scored],
        "tasks": list(opening.tasks),
        "missing_tasks": dict(opening.missing_tasks),
        "exported": {name: name for name in models},
        "exported_tasks": [timed_task(opening.tasks)],
        "made_by": dict(made_by),
        "study": {"question": topic.question, "paper": topic.paper, "reference": topic.reference},
        **report_header(scale),
    }
