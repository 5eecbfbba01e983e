"""What trimming alone and distilling cost: students beside their teacher, with intervals and tests.

    python -m benchmarks.studies students --data DATA --teacher TEACHER [--runs RUNS] [--record FOLDER]

Every number is computed from the predictions that a run keeps. Those that ``--runs`` has are read, whichever
``harness reproduce`` left them there; the others are made, with the models they need and no more. What is
compared must bear signatures that differ in the model alone. Differences are paired over items; p-values are
of approximate randomisation, corrected by Holm over a language's rows.
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
from harness.cli import doctor
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
"""Passes over parts of thousands of rows; the scale's own number suits parts of hundreds."""
TEACHER = "teacher"
MODELS = {
    TEACHER: "teacher",
    "trimmed-teacher": "teacher, trimmed only",
    "distill": "half the layers, distilled",
    "trim": "final student: distilled, pruned, narrowed, distilled again, trimmed",
    "tfidf": "TF-IDF and a linear model",
    "majority": "most frequent label",
}
"""What is compared, as the stages of a run call it; the teacher comes first."""
_OF_DATA = {"task", "lang", "data", "split", "n"}


@dataclass(frozen=True)
class Row:
    """A model on a task, beside the teacher.

    Attributes:
        language: its code.
        task: its name.
        metric: the task's main one.
        model: as in ``MODELS``.
        values: by seed.
        score: their mean, with its interval over items and seeds.
        difference: from the teacher; it and what follows are None for the teacher.
        retention: share of the teacher's score.
        p_value: of approximate randomisation.
        p_holm: corrected over the language's rows.
        verdict: what may be said.
        signature: of the score.
        made_at: the commit that fine-tuned the model.
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


def folder_of(runs: Path, language: str, task: str, model: str) -> Path | None:
    """Gives the newest folder in which a run keeps a model's predictions; None where none does."""
    named = re.compile(rf"\d+-score\.{task}\.{model}-[0-9a-f]+")
    folders = [path.parent for path in runs.glob(f"{language}/*/*/{FILE}")]
    found = [folder for folder in folders if named.fullmatch(folder.name)]
    return max(found, key=lambda folder: folder.stat().st_mtime, default=None)


def kept(runs: Path, language: str, models: Sequence[str]) -> list[str]:
    """Gives those of the models whose predictions a run keeps, on every task of the language."""
    return [one for one in models if all(folder_of(runs, language, task, one) for task in TASKS[language])]


def make(language: str, models: Sequence[str], recipe: str, scale: Scale, runs: Path) -> None:
    """Makes the predictions of a language that are missing."""
    wanted = [(task, model) for task in TASKS[language] for model in models]
    missing = [
        f"score.{task}.{model}" for task, model in wanted if folder_of(runs, language, task, model) is None
    ]
    plan = plan_run(language, load_recipe(recipe), scale).plan
    stages = needed(plan, missing)
    name = f"{language}/{recipe}-{scale.name}"
    execute(
        plan,
        Store(runs),
        name,
        RUNNERS,
        observer=Talk(),
        environment=doctor.environment,
        wanted=lambda stage: stage.id in stages,
    )


def judged(
    language: str, told: Mapping[str, Mapping[str, Predictions]], commits: Mapping[str, str | None]
) -> list[Row]:
    """Gives the rows of a language.

    Args:
        language: its code.
        told: by task and model, the teacher first.
        commits: by signature, the commit that made the predictions.
    """
    rows = [row for place, task in enumerate(told) for row in _rows(language, told[task], place, commits)]
    corrected = iter(holm([row.p_value for row in rows if row.p_value is not None]))
    return [
        row if row.difference is None else _corrected(row, row.difference, next(corrected)) for row in rows
    ]


def _corrected(row: Row, difference: Interval, p_holm: float) -> Row:
    return replace(row, p_holm=p_holm, verdict=verdict(difference, p_holm))


def _rows(
    language: str, told: Mapping[str, Predictions], place: int, commits: Mapping[str, str | None]
) -> list[Row]:
    check_alike(told)
    first = next(iter(told.values()))
    metric = first.metrics[0]
    tallies = tally_all(metric, first.gold, [labels for one in told.values() for labels in one.seeds])
    models = [[tallies.pop(0) for _ in one.seeds] for one in told.values()]
    sampled = sample(models, seed=place)
    rows = []
    for name, one, own, mine in zip(told, told.values(), models, sampled, strict=True):
        found = None if name == TEACHER else compare(mine, sampled[0])
        rows.append(
            Row(
                language=language,
                task=one.task,
                metric=metric,
                model=name,
                values=tuple(tally.value for tally in own),
                score=interval(own),
                difference=found.difference if found else None,
                retention=found.retention if found else None,
                p_value=found.p_value if found else None,
                p_holm=None,
                verdict=None,
                signature=one.signature,
                made_at=commits.get(one.signature),
            )
        )
    return rows


def check_alike(told: Mapping[str, Predictions]) -> None:
    """Refuses predictions whose signatures differ in more than the model; a baseline's has its own protocol.

    Raises:
        SystemExit: names the model and what differs.
    """
    first = parts(told[TEACHER].signature)
    for name, one in told.items():
        kept = _OF_DATA if parts(one.signature)["model"] == "none" else {*first}
        apart = sorted(part for part in kept - {"model"} if parts(one.signature).get(part) != first[part])
        if apart or one.gold != told[TEACHER].gold:
            raise SystemExit(f"students: {name} was scored otherwise than the teacher: {', '.join(apart)}")


def parts(signature: str) -> dict[str, str]:
    """Gives the parts of a signature by name."""
    return dict(part.split(":", 1) for part in signature.split("|"))


def table(rows: Sequence[Row]) -> list[str]:
    """Gives the lines of a table in Markdown."""
    lines = [
        "| Language | Task | Model | Score, % (95 % interval) | Beside the teacher | Share, % | p, Holm | |",
        "| :--- | :--- | :--- | ---: | ---: | ---: | ---: | :--- |",
    ]
    for row in rows:
        cells = [row.language, f"{row.task} ({row.metric})", MODELS[row.model], _estimate(row.score)]
        cells += [_estimate(row.difference, "+"), _estimate(row.retention)]
        cells += ["–" if row.p_holm is None else f"{row.p_holm:.4f}", row.verdict or ""]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _estimate(number: Interval | None, sign: str = "") -> str:
    if number is None:
        return "–"
    value, low, high = (f"{100 * end:{sign}.1f}" for end in (number.value, number.low, number.high))
    return f"{value} ({low} to {high})"


def _read(language: str, models: Sequence[str], runs: Path) -> list[Row]:
    told: dict[str, dict[str, Predictions]] = {}
    commits = {}
    for task in TASKS[language]:
        for model in models:
            folder = folder_of(runs, language, task, model)
            assert folder is not None
            one = told.setdefault(task, {})[model] = read_predictions(folder / FILE)
            commits[one.signature] = json.loads((folder / NAME).read_text(encoding="utf-8"))["commit"]
    return judged(language, told, commits)


def _scale(name: str, data: Path, teacher: Path) -> Scale:
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
    """Runs the command."""
    parser = make_parser("benchmarks.studies students", __doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--recipe", default="gurgurov2025")
    parser.add_argument("--scale", default="small")
    parser.add_argument("--languages", default=",".join(TASKS))
    parser.add_argument("--models", default=",".join(MODELS), help="which, the teacher first")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--kept", action="store_true", help="tell of what runs keep, and make nothing")
    parser.add_argument("--record", type=Path, help="folder to write the record to")
    asked = parser.parse_args(given)
    scale = _scale(asked.scale, asked.data, asked.teacher)
    models, rows = asked.models.split(","), []
    for language in asked.languages.split(","):
        if not asked.kept:
            make(language, models, asked.recipe, scale, asked.runs)
        rows += _read(language, kept(asked.runs, language, models), asked.runs)
    lines = table(rows)
    print("\n".join(lines))
    if asked.record:
        about = describe_environment("cpu") | {"scale": scale.name, "recipe": asked.recipe}
        lines += ["", "Signatures:", "", *(f"- `{row.signature}`" for row in rows)]
        print(write_record(asked.record, "students", about, {"rows": [asdict(row) for row in rows]}, lines))
    return 0
