"""The command that writes a run's results for other programs: convert."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import __version__
from harness.cli.app import app, out
from harness.errors import HarnessError
from harness.json_files import read_json, write_json
from harness.measure.predictions import FILE, read_predictions
from harness.pipeline.manifest import NAME
from harness.pipeline.store import Store
from harness.report.interchange import describe_evaluation, describe_for_mteb, format_conll, format_conllu
from harness.report.results import ModelResult, Results, read_results
from harness.tasks import CONLLU, TASKS


@app.command()
def convert(
    folder: Annotated[Path, typer.Argument(help="a finished run, as runs/mt/gurgurov2025-mini")],
    *,
    target: Annotated[Path, typer.Option("--out", help="the folder to write to")],
) -> None:
    """Write a run's scores and predictions for other programs: Every Eval Ever, MTEB, CoNLL and CoNLL-U."""
    results = read_results(folder / "results.json")
    store = Store(folder.resolve().parent.parent)
    origins = _read_origins(results, store)
    sources = {task: origin["hub"] for task, origin in origins.items() if origin.get("hub")}
    written = 0
    for model in results.models:
        if not any(score.model == model.id for score in results.scores):
            continue
        retrieved = int(time.time())
        record = describe_evaluation(
            results, model, version=__version__, retrieved=retrieved, sources=sources
        )
        _write(target / "every-eval-ever" / f"{model.id}.json", record)
        written += 1
        for task in results.declared.tasks:
            revision = origins.get(task, {}).get("revision")
            theirs = describe_for_mteb(results, model, task, sources=sources, revision=revision)
            if theirs is not None:
                _write(target / "mteb" / model.id / f"{theirs['task_name']}.json", theirs)
                written += 1
            written += _write_predictions(results, model, task, store, target / "predictions")
    out.print(f"{written} files in {target}", soft_wrap=True, markup=False)


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, value)


def _find_stage(results: Results, model: str, task: str, store: Store) -> Path | None:
    """Return the folder of the stage that scored a model on a task; None where there is none."""
    score = next((one for one in results.scores if (one.model, one.task) == (model, task)), None)
    return None if score is None else store.find(score.keys[0])


def _read_tasks_folder(stage: Path, store: Store) -> Path:
    key = read_json(stage / NAME)["inputs"]["tasks"]["key"]
    folder = store.find(key)
    if folder is None:
        raise HarnessError(f"convert: expected the stage {key} in {store.root}; got none; run it again")
    return folder


def _read_origins(results: Results, store: Store) -> dict[str, dict[str, Any]]:
    """Return the provenance of each task's data."""
    origins = {}
    for task in results.declared.tasks:
        stages = (_find_stage(results, model.id, task, store) for model in results.models)
        stage = next((one for one in stages if one is not None), None)
        if stage is not None:
            origins[task] = dict(read_json(_read_tasks_folder(stage, store) / f"{task}.json")["provenance"])
    return origins


def _write_predictions(results: Results, model: ModelResult, task: str, store: Store, target: Path) -> int:
    """Write the predictions of a tagger for the official scorers; return the number of files."""
    stage = _find_stage(results, model.id, task, store)
    if stage is None or TASKS[task].kind != "token" or not (stage / FILE).is_file():
        return 0
    predictions = read_predictions(stage / FILE)
    examples = read_json(_read_tasks_folder(stage, store) / f"{task}.json")["test"]
    words = [example["words"] for example in examples]
    target.mkdir(parents=True, exist_ok=True)
    universal = TASKS[task].format is CONLLU
    if universal:
        (target / f"{task}.gold.conllu").write_text(format_conllu(words, predictions.gold), encoding="utf-8")
    for seed, tags in predictions.by_seed.items():
        name = f"{task}.{model.id}.seed{seed}"
        if universal:
            (target / f"{name}.conllu").write_text(format_conllu(words, tags), encoding="utf-8")
        else:
            text = format_conll(words, predictions.gold, tags)
            (target / f"{name}.conll").write_text(text, encoding="utf-8")
    return len(predictions.by_seed)
