"""The command that writes a run's results for other programs: convert."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import __version__
from harness.cli.app import app, out
from harness.deploy.interchange.conll import format_conll, format_conllu
from harness.deploy.interchange.every_eval_ever import Evaluation, make_records
from harness.deploy.interchange.mteb import describe_for_mteb
from harness.errors import HarnessError
from harness.json_files import format_json, read_json
from harness.measure.predictions import FILE, Predictions, read_predictions
from harness.pipeline.manifest import NAME
from harness.pipeline.store import Store
from harness.report.results import ModelResult, Results, read_results
from harness.tasks import CONLLU, TASKS


@app.command()
def convert(
    folder: Annotated[Path, typer.Argument(help="a finished run, as runs/mt/gurgurov2025-mini")],
    *,
    target: Annotated[Path, typer.Option("--out", help="the folder to write to")],
    developer: Annotated[
        str, typer.Option(help="the organisation that the models are filed under in Every Eval Ever")
    ] = "local",
) -> None:
    """Write a run's scores and predictions for other programs: Every Eval Ever, MTEB, CoNLL and CoNLL-U."""
    results = read_results(folder / "results.json")
    scored = ScoredRun(results, Store(folder.resolve().parent.parent))
    retrieved = int(time.time())
    files: dict[str, str] = {}
    for model in results.models:
        if any(score.model == model.id for score in results.scores):
            evaluation = Evaluation(results, model, developer, __version__, retrieved, scored.sources)
            records = make_records(evaluation, scored.list_items(model))
            files |= {f"every-eval-ever/{path}": text for path, text in records.items()}
            files |= _describe_for_mteb(scored, model) | _format_predictions(scored, model)
    for name, text in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    out.print(f"{len(files)} files in {target}", soft_wrap=True, markup=False)


@dataclass(frozen=True)
class ScoredRun:
    """A run's results, and the store with the predictions and the tasks that they came from."""

    results: Results
    store: Store

    @cached_property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """Each task as its stage wrote it; without those whose stages were removed."""
        tasks = {}
        for task in self.results.declared.tasks:
            stages = (self._find_stage(model, task) for model in self.results.models)
            stage = next((one for one in stages if one is not None), None)
            if stage is not None:
                tasks[task] = dict(read_json(self._find_tasks(stage) / f"{task}.json"))
        return tasks

    @property
    def sources(self) -> dict[str, str]:
        """The hub id of each task's data; a task that is absent has data from elsewhere."""
        hubs = {name: task["provenance"].get("hub") for name, task in self.tasks.items()}
        return {name: hub for name, hub in hubs.items() if hub}

    def read_predictions(self, model: ModelResult) -> Iterator[Predictions]:
        """Yield a model's predictions on each task whose stage is there."""
        for task in self.results.declared.tasks:
            stage = self._find_stage(model, task)
            if stage is not None and (stage / FILE).is_file():
                yield read_predictions(stage / FILE)

    def list_items(self, model: ModelResult) -> Iterator[tuple[list[str], Predictions]]:
        """Yield the texts of each task's test part with a model's predictions."""
        for predictions in self.read_predictions(model):
            yield list(map(_join_texts, self.tasks[predictions.task]["test"])), predictions

    def _find_stage(self, model: ModelResult, task: str) -> Path | None:
        score = self.results.find_score(model.id, task)
        return None if score is None else self.store.find(score.keys[0])

    def _find_tasks(self, stage: Path) -> Path:
        key = read_json(stage / NAME)["inputs"]["tasks"]["key"]
        folder = self.store.find(key)
        if folder is None:
            raise HarnessError(
                f"convert: expected the stage {key} in {self.store.root}; got none; run it again"
            )
        return folder


def _join_texts(example: dict[str, Any]) -> str:
    """Return an example as one text: its words, or its text, or both texts of a pair on two lines."""
    if "words" in example:
        return " ".join(example["words"])
    return "\n".join(text for text in (example["text"], example["second"]) if text is not None)


def _describe_for_mteb(scored: ScoredRun, model: ModelResult) -> dict[str, str]:
    files = {}
    for name, task in scored.tasks.items():
        theirs = describe_for_mteb(scored.results, model, name, task["provenance"])
        if theirs is not None:
            files[f"mteb/{model.id}/{theirs['task_name']}.json"] = format_json(theirs)
    return files


def _format_predictions(scored: ScoredRun, model: ModelResult) -> dict[str, str]:
    """Return the predictions of a tagger for the official scorers."""
    files = {}
    for predictions in scored.read_predictions(model):
        name = predictions.task
        if TASKS[name].kind != "token":
            continue
        words = [example["words"] for example in scored.tasks[name]["test"]]
        universal = TASKS[name].format is CONLLU
        if universal:
            files[f"predictions/{name}.gold.conllu"] = format_conllu(words, predictions.gold)
        for seed, tags in predictions.by_seed.items():
            stem = f"predictions/{name}.{model.id}.seed{seed}"
            if universal:
                files[f"{stem}.conllu"] = format_conllu(words, tags)
            else:
                files[f"{stem}.conll"] = format_conll(words, predictions.gold, tags)
    return files
