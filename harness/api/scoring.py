"""Fine-tune and score any encoders on the tasks of a language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.options import DEFAULT_RUNS, ScaleOptions, choose_scale
from harness.api.running import run_stages
from harness.baselines import BASELINE_NAMES, list_scorecard_baselines
from harness.config.load import check_scale
from harness.config.scale import Scale
from harness.errors import UsageError
from harness.json_files import write_json
from harness.pipeline.execute import Observer
from harness.pipeline.store import Store

if TYPE_CHECKING:
    from harness.plans.scorecard import EvaluationPlan


@dataclass(frozen=True)
class Scorecard:
    """The scores of models on the tasks of a language.

    Attributes:
        scores: means, intervals, values by seed and signatures, with all comparisons, as ``scores.json``.
        path: of ``scores.json``.
        tasks: those scored, each with its main metric.
        missing_tasks: tasks that the data does not have, with the reason.
    """

    scores: Mapping[str, Any]
    path: Path
    tasks: Mapping[str, str]
    missing_tasks: Mapping[str, str]

    def get_mean(self, model: str, task: str) -> float:
        """Return the mean over the seeds of the main metric of a task, as a fraction."""
        return float(self.scores["scores"][model][task]["metrics"][self.tasks[task]]["mean"])


@dataclass(frozen=True)
class PlannedScores:
    """The stages that score models.

    Attributes:
        card: the stages, the models and the tasks.
        folder: in the folder of runs.
    """

    card: EvaluationPlan
    folder: str


def score(
    models: Sequence[str | Path],
    language: str,
    *,
    scale: str | Path = "paper",
    options: ScaleOptions = ScaleOptions(),  # noqa: B008  frozen
    seeds: Sequence[int] | None = None,
    baselines: Sequence[str] | None = None,
    method: str | None = None,
    runs: str | Path = DEFAULT_RUNS,
    observer: Observer | None = None,
) -> Scorecard:
    """Fine-tune and score models and baselines on a language's tasks, with intervals and tests.

    Args:
        models: folders or hub ids; the first is the reference of all comparisons.
        language: code, as ``mt``.
        scale: whose protocol is taken: mini, small, laptop, paper, or a YAML file.
        options: replace parts of the scale: data, tasks, seed.
        seeds: of the fine-tunings; None: the scale's.
        baselines: to score too; None: the scale's.
        method: full, adapter, lora or sft; None: the scale's.
        runs: where runs are kept.
        observer: receives the events of the run.

    Raises:
        HarnessError: something does not exist, does not fit, or failed.
    """
    amount = change_protocol(choose_scale(scale, options), seeds, baselines, method)
    planned = plan_model_scores(models, language, amount)
    return finish_scores(planned, Path(runs), observer=observer or Observer())


def plan_model_scores(models: Sequence[str | Path], language: str, scale: Scale) -> PlannedScores:
    """Return the stages that score models by a scale's protocol."""
    from harness.plans.scorecard import find_model_sources, plan_evaluation  # noqa: PLC0415  loads torch

    card = plan_evaluation(find_model_sources(list(map(str, models))), language, scale)
    return PlannedScores(card, f"{language}/score-{card.models[0].id}-{scale.name}")


def finish_scores(planned: PlannedScores, runs: Path, *, observer: Observer) -> Scorecard:
    """Run the missing stages, and write ``scores.json``."""
    from harness.plans.scorecard import collect_scores  # noqa: PLC0415  loads torch

    finished = run_stages(planned.card.plan, Store(runs), planned.folder, observer=observer)
    scores = collect_scores(planned.card, finished)
    path = runs / planned.folder / "scores.json"
    path.parent.mkdir(parents=True, exist_ok=True)  # absent where all stages belong to another run
    write_json(path, scores)
    return Scorecard(scores, path, planned.card.tasks, planned.card.missing_tasks)


def change_protocol(
    scale: Scale,
    seeds: Sequence[object] | None = None,
    baselines: Sequence[str] | None = None,
    method: str | None = None,
) -> Scale:
    """Return the scale with another protocol, checked like a scale's file; None leaves what the scale has."""
    changed = scale.model_dump(mode="json", exclude_none=True)
    if seeds is not None:
        changed["score"]["seeds"] = list(seeds)
    if method is not None:
        changed["score"]["method"] = method
    if baselines is not None:
        changed["score"]["baselines"] = list(baselines)
        able = list_scorecard_baselines()
        for name in baselines:
            if name in BASELINE_NAMES and name not in able:
                raise UsageError(
                    f"--baselines {name}: expected baselines that need no corpus ({', '.join(able)}); "
                    "got one that does; run `harness reproduce`, which makes it"
                )
    return check_scale("score", changed)
