"""The cost of trimming alone and of distilling: students compared with their teacher.

    python -m benchmarks.studies students --data DATA --teacher TEACHER [--runs RUNS] [--record FOLDER]

Every number is computed from the predictions that a run keeps. Predictions in ``--runs`` are read, whichever
``harness reproduce`` made them; missing predictions are made, with the models that they need. The signatures
of compared models must differ in the model alone. Differences are paired over items; p-values are of
approximate randomisation, corrected by Holm over a language's rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.common.programs import make_parser
from benchmarks.common.recording import describe_environment, write_record
from harness.api import running
from harness.config.load import check_scale, load_recipe, load_scale
from harness.config.scale import Scale
from harness.measure.interval import Interval
from harness.measure.predictions import FILE, Predictions, read_predictions
from harness.measure.scores import tally_all
from harness.measure.significance import compare, holm, interval, sample, verdict
from harness.pipeline.execute import Observer, execute
from harness.pipeline.manifest import NAME
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.store import Store
from harness.plans.run import plan_run
from harness.stages import RUNNERS

TASKS = {"mt": ("pos", "topic"), "sl": ("pos", "topic"), "hr": ("ner",), "fr": ("sentiment",)}
EPOCHS = {"ner": 3, "sentiment": 3}
"""Epochs on training sets of thousands of rows; the scale's own number suits sets of hundreds."""
TEACHER = "teacher"
MODELS = {
    TEACHER: "teacher",
    "trimmed-teacher": "teacher, trimmed only",
    "distill": "half the layers, distilled",
    "trim": "final student: distilled, pruned, narrowed, distilled again, trimmed",
    "tfidf": "TF-IDF and a linear model",
    "majority": "most frequent label",
}
"""Titles of the models by their name in a run's stages; the teacher comes first."""
_DATA_PARTS = {"task", "lang", "data", "split", "n"}


@dataclass(frozen=True)
class Row:
    """A model on a task, compared with the teacher.

    Attributes:
        language: code of the language.
        task: name of the task.
        metric: main metric of the task.
        model: name of the model, of ``MODELS``.
        values: score of each seed.
        score: mean of the values, with its interval over items and seeds.
        difference: difference from the teacher; None for the teacher, as are the next four.
        retention: share of the teacher's score.
        p_value: p-value of approximate randomisation.
        p_holm: p-value corrected over the language's rows.
        verdict: verdict of the comparison.
        signature: signature of the score.
        made_at: commit that fine-tuned the model.
    """

    language: str
    task: str
    metric: str
    model: str
    values: tuple[float, ...]
    score: Interval
    difference: Interval | None
    retention: Interval | None
    p_value: float | None
    p_holm: float | None
    verdict: str | None
    signature: str
    made_at: str | None


class StagePrinter(Observer):
    """Print each stage when it is done."""

    def stage_finished(self, stage: Stage, folder: Path, written: Any) -> None:
        """Print the stage and its time."""
        print(f"{folder.parent.parent.name} {stage.id}: {written.wall_s:.0f} s", flush=True)


def list_needed_stages(plan: Plan, ids: Sequence[str]) -> set[str]:
    """Return the stages that some stages depend on, including themselves."""
    needed = set(ids)
    for stage in reversed(plan.stages):
        if stage.id in needed:
            needed |= {source for source in stage.inputs.values() if isinstance(source, str)}
    return needed


def find_folder(runs: Path, language: str, task: str, model: str) -> Path | None:
    """Return the newest folder with a model's predictions on a task; None where there is none."""
    named = re.compile(rf"\d+-score\.{task}\.{model}-[0-9a-f]+")
    folders = [path.parent for path in runs.glob(f"{language}/*/*/{FILE}")]
    matching = [folder for folder in folders if named.fullmatch(folder.name)]
    return max(matching, key=lambda folder: folder.stat().st_mtime, default=None)


def list_kept_models(runs: Path, language: str, models: Sequence[str]) -> list[str]:
    """Return the models that have predictions on every task of the language."""
    return [one for one in models if all(find_folder(runs, language, task, one) for task in TASKS[language])]


def make_predictions(language: str, models: Sequence[str], recipe: str, scale: Scale, runs: Path) -> None:
    """Make the missing predictions of a language."""
    pairs = [(task, model) for task in TASKS[language] for model in models]
    missing = [
        f"score.{task}.{model}" for task, model in pairs if find_folder(runs, language, task, model) is None
    ]
    plan = plan_run(language, load_recipe(recipe), scale).plan
    stages = list_needed_stages(plan, missing)
    name = f"{language}/{recipe}-{scale.name}"
    execute(
        plan,
        Store(runs),
        name,
        RUNNERS,
        observer=StagePrinter(),
        environment=running.describe_environment,
        selected=lambda stage: stage.id in stages,
    )


def compare_models(
    language: str, predictions: Mapping[str, Mapping[str, Predictions]], commits: Mapping[str, str | None]
) -> list[Row]:
    """Return the rows of a language.

    Args:
        language: code of the language.
        predictions: predictions by task and model, the teacher first.
        commits: commit that made the predictions, by signature.
    """
    rows = [
        row
        for place, task in enumerate(predictions)
        for row in _make_rows(language, predictions[task], place, commits)
    ]
    corrected = iter(holm([row.p_value for row in rows if row.p_value is not None]))
    return [
        row if row.difference is None else _corrected(row, row.difference, next(corrected)) for row in rows
    ]


def _corrected(row: Row, difference: Interval, p_holm: float) -> Row:
    return replace(row, p_holm=p_holm, verdict=verdict(difference, p_holm))


def _make_rows(
    language: str, predictions: Mapping[str, Predictions], place: int, commits: Mapping[str, str | None]
) -> list[Row]:
    check_comparable(predictions)
    first = next(iter(predictions.values()))
    metric = first.metrics[0]
    tallies = tally_all(metric, first.gold, [labels for one in predictions.values() for labels in one.seeds])
    models = [[tallies.pop(0) for _ in one.seeds] for one in predictions.values()]
    sampled = sample(models, seed=place)
    rows = []
    for name, one, own, mine in zip(predictions, predictions.values(), models, sampled, strict=True):
        comparison = None if name == TEACHER else compare(mine, sampled[0])
        rows.append(
            Row(
                language=language,
                task=one.task,
                metric=metric,
                model=name,
                values=tuple(tally.value for tally in own),
                score=interval(own),
                difference=comparison.difference if comparison else None,
                retention=comparison.retention if comparison else None,
                p_value=comparison.p_value if comparison else None,
                p_holm=None,
                verdict=None,
                signature=one.signature,
                made_at=commits.get(one.signature),
            )
        )
    return rows


def check_comparable(predictions: Mapping[str, Predictions]) -> None:
    """Refuse predictions whose signatures differ in more than the model; a baseline has its own protocol.

    Raises:
        SystemExit: names the model and what differs.
    """
    first = split_signature(predictions[TEACHER].signature)
    for name, one in predictions.items():
        parts = split_signature(one.signature)
        compared = _DATA_PARTS if parts["model"] == "none" else {*first}
        different = sorted(part for part in compared - {"model"} if parts.get(part) != first[part])
        if different or one.gold != predictions[TEACHER].gold:
            raise SystemExit(
                f"students: {name} was scored in another way than the teacher: {', '.join(different)}"
            )


def split_signature(signature: str) -> dict[str, str]:
    """Return the parts of a signature by name."""
    return dict(part.split(":", 1) for part in signature.split("|"))


def draw_table(rows: Sequence[Row]) -> list[str]:
    """Return the rows as a Markdown table."""
    lines = [
        "| Language | Task | Model | Score, % (95 % interval) "
        "| Difference from the teacher | Share, % | p, Holm | |",
        "| :--- | :--- | :--- | ---: | ---: | ---: | ---: | :--- |",
    ]
    for row in rows:
        cells = [row.language, f"{row.task} ({row.metric})", MODELS[row.model], _format_interval(row.score)]
        cells += [_format_interval(row.difference, "+"), _format_interval(row.retention)]
        cells += ["–" if row.p_holm is None else f"{row.p_holm:.4f}", row.verdict or ""]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _format_interval(number: Interval | None, sign: str = "") -> str:
    if number is None:
        return "–"
    value, low, high = (f"{100 * end:{sign}.1f}" for end in (number.value, number.low, number.high))
    return f"{value} ({low} to {high})"


def _read_rows(language: str, models: Sequence[str], runs: Path) -> list[Row]:
    predictions: dict[str, dict[str, Predictions]] = {}
    commits = {}
    for task in TASKS[language]:
        for model in models:
            folder = find_folder(runs, language, task, model)
            assert folder is not None
            one = predictions.setdefault(task, {})[model] = read_predictions(folder / FILE)
            commits[one.signature] = json.loads((folder / NAME).read_text(encoding="utf-8"))["commit"]
    return compare_models(language, predictions, commits)


def _make_scale(name: str, data: Path, teacher: Path) -> Scale:
    values = (
        load_scale(name)
        .with_data(str(data))
        .with_teacher(str(teacher))
        .model_dump(mode="json", exclude_none=True)
    )
    for task, epochs in EPOCHS.items():
        values["score"]["tasks"].setdefault(task, {})["epochs"] = epochs
    return check_scale("students", values)


def main(given: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = make_parser("benchmarks.studies students", __doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--recipe", default="gurgurov2025")
    parser.add_argument("--scale", default="small")
    parser.add_argument("--languages", default=",".join(TASKS))
    parser.add_argument("--models", default=",".join(MODELS), help="names of models, the teacher first")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--kept", action="store_true", help="compare kept predictions, and make none")
    parser.add_argument("--record", type=Path, help="folder to write the record to")
    asked = parser.parse_args(given)
    scale = _make_scale(asked.scale, asked.data, asked.teacher)
    models, rows = asked.models.split(","), []
    for language in asked.languages.split(","):
        if not asked.kept:
            make_predictions(language, models, asked.recipe, scale, asked.runs)
        rows += _read_rows(language, list_kept_models(asked.runs, language, models), asked.runs)
    lines = draw_table(rows)
    print("\n".join(lines))
    if asked.record:
        about = describe_environment("cpu") | {"scale": scale.name, "recipe": asked.recipe}
        lines += ["", "Signatures:", "", *(f"- `{row.signature}`" for row in rows)]
        print(write_record(asked.record, "students", about, {"rows": [asdict(row) for row in rows]}, lines))
    return 0
