"""What trimming alone and distilling cost: students beside their teacher, with intervals and tests.

    python -m benchmarks.students --data DATA --teacher TEACHER [--runs RUNS] [--record FOLDER]

For each language the recipe's models are made (or found in ``--runs``), and each is fine-tuned with every
seed on the language's tasks; the comparisons with the teacher are paired over items and corrected by Holm
over the language's table.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.recording import environment, without_places, write
from harness.config.load import check_scale, load_recipe, load_scale
from harness.config.scale import Scale
from harness.pipeline.execute import Finished, Observer, execute
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.store import Store
from harness.stages import RUNNERS, doctor
from harness.stages.blueprint import draw
from harness.stages.scorecard import Model, draw_scorecard, gather

TASKS = {"mt": ("pos", "topic"), "sl": ("pos", "topic"), "hr": ("ner",), "fr": ("sentiment",)}
EPOCHS = {"ner": 3, "sentiment": 3}
"""Passes over parts of thousands of rows; the scale's own number suits parts of hundreds."""
MODELS = {
    "teacher": "teacher",
    "trimmed-teacher": "teacher, trimmed only",
    "distill": "half the layers, distilled",
    "trim": "final student: distilled, pruned, narrowed, distilled again, trimmed",
}
"""The models that can be compared, by the stage of a run that makes them; the teacher comes first."""


class Talk(Observer):
    """Tells each stage when it is done."""

    def stage_finished(self, stage: Stage, folder: Path, written: Any) -> None:
        """Prints the stage and its time."""
        print(f"{folder.parent.parent.name} {stage.id}: {written.wall_s:.0f} s", flush=True)


def needed(plan: Plan, ids: Sequence[str]) -> set[str]:
    """Gives the stages that some stages come from, themselves among them."""
    found = set(ids)
    for stage in reversed(plan.stages):
        if stage.id in found:
            found |= {source for source in stage.inputs.values() if isinstance(source, str)}
    return found


def make(language: str, names: Sequence[str], scale: Scale, recipe: str, store: Store) -> list[Model]:
    """Gives some of the models of a language; makes those that are missing."""
    plan = draw(language, load_recipe(recipe), scale).plan
    finished = run(plan, store, f"{language}/{recipe}-{scale.name}", needed(plan, names))
    return [Model(name, finished[name].folder / "model", name) for name in names]


def run(plan: Plan, store: Store, name: str, wanted: set[str]) -> dict[str, Finished]:
    """Makes some stages of a plan."""
    return execute(
        plan,
        store,
        name,
        RUNNERS,
        observer=Talk(),
        environment=doctor.environment,
        wanted=lambda stage: stage.id in wanted,
    )


def scored(language: str, models: Sequence[Model], scale: Scale, seeds: Sequence[int], store: Store) -> Any:
    """Gives the scores and comparisons of a language's models."""
    settings = scale.model_dump(mode="json", exclude_none=True)
    settings["tasks"]["names"] = list(TASKS[language])
    settings["score"] |= {"seeds": list(seeds), "baselines": ["tfidf", "majority"]}
    for task in settings["tasks"]["names"]:
        if task in EPOCHS:
            settings["score"]["tasks"].setdefault(task, {})["epochs"] = EPOCHS[task]
    card = draw_scorecard(models, language, check_scale("students", settings))
    finished = run(card.plan, store, f"{language}/students-{scale.name}", {stage.id for stage in card.plan})
    return without_places(gather(card, finished))


def table(found: Mapping[str, Any]) -> list[str]:
    """Gives the lines of a table in Markdown, a row a language, task and model."""
    lines = [
        "| Language | Task | Model | Score, % (95 % interval) | Beside the teacher | Share, % | p, Holm | |",
        "| :--- | :--- | :--- | ---: | ---: | ---: | ---: | :--- |",
    ]
    for language, one in found.items():
        for task, metric in one["tasks"].items():
            for model, name in one["names"].items():
                lines.append(f"| {language} | {task} ({metric}) | {_cells(one, task, metric, model, name)} |")
    return lines


def _cells(one: Mapping[str, Any], task: str, metric: str, model: str, name: str) -> str:
    cell = one["scores"][model][task]["metrics"][metric]
    told = [MODELS.get(model, name), _estimate({"value": cell["mean"], **cell})]
    beside = {row["model"]: row for row in one["comparisons"] if row["task"] == task}
    if model not in beside:  # the teacher is compared with none
        return " | ".join([*told, "–", "–", "–", "–"])
    row = beside[model]
    share = _estimate(row["retention"]) if row["retention"] else "–"
    told += [_estimate(row["difference"], "+"), share, f"{row['p_holm']:.4f}", row["verdict"]]
    return " | ".join(told)


def _estimate(number: Mapping[str, float], sign: str = "") -> str:
    value, low, high = (f"{100 * number[name]:{sign}.1f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--recipe", default="gurgurov2025")
    parser.add_argument("--scale", default="small")
    parser.add_argument("--languages", default=",".join(TASKS))
    parser.add_argument("--models", default=",".join(MODELS), help="which, the teacher first")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--record", type=Path, help="folder to write the record to")
    parser.add_argument("--models-only", action="store_true", help="make the models and score none")
    asked = parser.parse_args()
    scale = load_scale(asked.scale).with_data(str(asked.data)).with_teacher(str(asked.teacher))
    store, seeds = Store(asked.runs), [int(seed) for seed in asked.seeds.split(",")]
    names, found = asked.models.split(","), {}
    for language in asked.languages.split(","):
        models = make(language, names, scale, asked.recipe, store)
        if not asked.models_only:
            found[language] = scored(language, models, scale, seeds, store)
    if asked.models_only:
        return
    lines = table(found)
    print("\n".join(lines))
    if asked.record:
        about = environment("cpu") | {"scale": scale.name, "recipe": asked.recipe, "seeds": seeds}
        print(write(asked.record, "students", about, {"languages": found}, lines))


if __name__ == "__main__":
    main()
