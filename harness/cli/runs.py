"""Commands that make runs and read them: reproduce, download, plan, report, pretrain, verify."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown

from harness.cli import doctor
from harness.cli.app import (
    DEFAULT_RUNS,
    AsJson,
    CheckpointEvery,
    Data,
    Device,
    Language,
    LanguageOption,
    RecipeName,
    Runs,
    ScaleName,
    ScaleOptions,
    Scored,
    Seed,
    StrictData,
    TaskNames,
    Teacher,
    app,
    choose_language,
    choose_scale,
    err,
    out,
    plan_chosen_run,
    print_json,
)
from harness.cli.device import select_device
from harness.cli.publish import MODELS, STUDENT, locate_run, publish_model, publish_run
from harness.cli.watch import Watch, print_plan
from harness.errors import HarnessError, UsageError
from harness.pipeline.execute import execute
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.status import status
from harness.pipeline.store import Store
from harness.pipeline.verify import verify as find_damage
from harness.plans.estimate import estimate_plan
from harness.plans.run import reads_hub
from harness.plans.run_inputs import plan_pretraining
from harness.report.answer import write_answer
from harness.report.escaping import drop_control_characters
from harness.report.render import read_results
from harness.stages import RUNNERS

RESULTS = "results.json"
"""The file that marks the folder of a finished run."""


@app.command()
def reproduce(
    language: Language = None,
    *,
    lang: LanguageOption = None,
    recipe: RecipeName = None,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    strict_data: StrictData = False,
    tasks: TaskNames = None,
    score: Scored = None,
    seed: Seed = None,
    device: Device = "auto",
    runs: Runs = DEFAULT_RUNS,
    checkpoint_every: CheckpointEvery = None,
) -> None:
    """Run a recipe on a language, from corpus to report; finished stages are kept."""
    select_device(device)
    language = choose_language(language, lang)
    options = ScaleOptions(data, teacher, strict_data, tasks, score, seed)
    chosen, name = plan_chosen_run(language, recipe, scale, options)
    store = Store(runs)
    _execute(chosen.plan, store, f"{language}/{name}", checkpoint_s=checkpoint_every)
    folder = publish_run(chosen, store, locate_run(runs, language, name))
    for task, reason in chosen.missing_tasks.items():
        err.print(f"not scored: {task}, since {reason}", markup=False)
    out.print(
        f"report: {folder / 'report.md'}  {folder / 'report.html'}  {folder / 'results.json'}", soft_wrap=True
    )
    out.print(f"student: {folder / STUDENT}  (AutoModelForMaskedLM.from_pretrained loads it)", soft_wrap=True)
    if chosen.tasks:
        out.print(f"model:  {folder / MODELS}  (ONNX files of each task)", soft_wrap=True)
    for sentence in write_answer(read_results(folder / "results.json")):
        out.print(drop_control_characters(sentence), soft_wrap=True, markup=False, highlight=False)


def _execute(
    plan: Plan,
    store: Store,
    folder: str,
    selected: Callable[[Stage], bool] = lambda _: True,
    checkpoint_s: float | None = None,
) -> None:
    rows = [row for row in status(plan, store) if selected(row.stage)]
    with Watch(err, len(rows), estimate_plan(plan, rows, store).stage_seconds) as watch:
        execute(
            plan,
            store,
            folder,
            RUNNERS,
            observer=watch,
            environment=doctor.describe_environment,
            selected=selected,
            checkpoint_s=checkpoint_s,
        )


@app.command()
def download(
    language: Language = None,
    *,
    lang: LanguageOption = None,
    recipe: RecipeName = None,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    strict_data: StrictData = False,
    tasks: TaskNames = None,
    score: Scored = None,
    seed: Seed = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Run only the stages that read the hub, so that the rest of the run needs no network."""
    language = choose_language(language, lang)
    options = ScaleOptions(data, teacher, strict_data, tasks, score, seed)
    chosen, name = plan_chosen_run(language, recipe, scale, options)
    if any(map(reads_hub, chosen.plan)):
        _execute(chosen.plan, Store(runs), f"{language}/{name}", reads_hub)


@app.command()
def plan(
    language: Language = None,
    *,
    lang: LanguageOption = None,
    recipe: RecipeName = None,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    strict_data: StrictData = False,
    tasks: TaskNames = None,
    score: Scored = None,
    seed: Seed = None,
    runs: Runs = DEFAULT_RUNS,
    as_json: AsJson = False,
) -> None:
    """Print the stages of a run, which of them are done, and what the others need; run none."""
    language = choose_language(language, lang)
    options = ScaleOptions(data, teacher, strict_data, tasks, score, seed)
    chosen, name = plan_chosen_run(language, recipe, scale, options)
    print_plan(f"{language}/{name}", chosen.plan, Store(runs), as_json=as_json)


@app.command()
def report(
    language: Annotated[
        str | None,
        typer.Argument(
            metavar="[LANGUAGE|FOLDER]", help="language code, or the folder of a run, as runs/mt/…"
        ),
    ] = None,
    *,
    lang: LanguageOption = None,
    recipe: RecipeName = None,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    strict_data: StrictData = False,
    tasks: TaskNames = None,
    score: Scored = None,
    seed: Seed = None,
    runs: Runs = DEFAULT_RUNS,
    as_json: AsJson = False,
) -> None:
    """Print the report of a finished run: of a run's folder, or of the run that the options describe."""
    if language is not None and lang is None and _names_folder(language):
        _print_report(_check_run_folder(Path(language)), as_json=as_json)
        return
    language = choose_language(language, lang)
    options = ScaleOptions(data, teacher, strict_data, tasks, score, seed)
    chosen, name = plan_chosen_run(language, recipe, scale, options)
    if Store(runs).find(chosen.plan.keys["report"]) is None:
        raise HarnessError(
            f"report: expected a finished run {language}/{name} in {runs}; got none; run `harness reproduce` "
            "with the same options, or name a run's folder"
        )
    _print_report(publish_run(chosen, Store(runs), locate_run(runs, language, name)), as_json=as_json)


def _names_folder(text: str) -> bool:
    """Whether an argument is a path, or a folder that has a report, and no language code."""
    return "/" in text or os.sep in text or (Path(text) / RESULTS).is_file()


def _check_run_folder(folder: Path) -> Path:
    if not (folder / RESULTS).is_file():
        raise UsageError(
            f"report {folder}: expected the folder of a finished run, with {RESULTS}; got none; "
            "name one as runs/mt/gurgurov2025-mini"
        )
    return folder


def _print_report(folder: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(json.loads((folder / RESULTS).read_text(encoding="utf-8")))
        return
    text = (folder / "report.md").read_text(encoding="utf-8")
    out.print(Markdown(text) if out.is_terminal else text, soft_wrap=not out.is_terminal, markup=False)


@app.command()
def pretrain(
    target: Annotated[Path, typer.Option("--out", help="folder to write the teacher to")],
    *,
    scale: ScaleName = "mini",
    data: Data = None,
    seed: Seed = None,
    device: Device = "auto",
    runs: Runs = DEFAULT_RUNS,
    checkpoint_every: CheckpointEvery = None,
) -> None:
    """Train a multilingual teacher of the scale's size, on a data folder or on the built-in languages."""
    select_device(device)
    amount = choose_scale(scale, ScaleOptions(data, seed=seed))
    stages = Plan(plan_pretraining(amount))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise HarnessError(f"--out {target}: expected a new or empty folder; got one in use; name another")
    store = Store(runs)
    _execute(stages, store, f"teachers/{amount.name}", checkpoint_s=checkpoint_every)
    publish_model(stages, store, target)
    out.print(f"teacher: {target}", soft_wrap=True)


@app.command()
def verify(runs: Runs = DEFAULT_RUNS) -> None:
    """Read every file of every run again, and list those that are not as they were written."""
    if not runs.is_dir():
        raise HarnessError(f"verify: expected a folder of runs at {runs}; got none; name it by --runs")
    findings = find_damage(runs)
    for finding in findings:
        out.print(f"{finding.path}: {finding.problem}", soft_wrap=True, markup=False)
    if findings:
        raise HarnessError(
            f"verify: {len(findings)} damaged; the next `harness reproduce` runs their stages again"
        )
    out.print(f"{len(Store(runs).list_stages())} stages, every byte as it was written")
