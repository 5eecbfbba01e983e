"""Commands that make runs and read them: reproduce, download, plan, report, pretrain, verify."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown

from harness.cli import doctor
from harness.cli.app import (
    DEFAULT_RUNS,
    CheckpointEvery,
    Data,
    Language,
    RecipeName,
    Runs,
    ScaleName,
    ScaleOptions,
    Scored,
    StrictData,
    TaskNames,
    Teacher,
    app,
    choose_scale,
    err,
    out,
    plan_chosen_run,
)
from harness.cli.publish import MODELS, STUDENT, locate_run, publish_model, publish_run
from harness.cli.watch import Watch, print_plan
from harness.errors import HarnessError
from harness.pipeline.execute import execute
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.store import Store
from harness.pipeline.verify import verify as find_damage
from harness.plans.run import reads_hub
from harness.plans.run_inputs import plan_pretraining
from harness.report.answer import write_answer
from harness.report.escaping import drop_control_characters
from harness.report.render import read_results
from harness.stages import RUNNERS


@app.command()
def reproduce(
    language: Language,
    *,
    recipe: RecipeName = None,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    strict_data: StrictData = False,
    tasks: TaskNames = None,
    score: Scored = None,
    runs: Runs = DEFAULT_RUNS,
    checkpoint_every: CheckpointEvery = None,
) -> None:
    """Run a recipe on a language, from corpus to report; finished stages are kept."""
    options = ScaleOptions(data, teacher, strict_data, tasks, score)
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
    with Watch(err, sum(map(selected, plan))) as watch:
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
    language: Language,
    *,
    recipe: RecipeName = None,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    strict_data: StrictData = False,
    tasks: TaskNames = None,
    score: Scored = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Run only the stages that read the hub, so that the rest of the run needs no network."""
    options = ScaleOptions(data, teacher, strict_data, tasks, score)
    chosen, name = plan_chosen_run(language, recipe, scale, options)
    if any(map(reads_hub, chosen.plan)):
        _execute(chosen.plan, Store(runs), f"{language}/{name}", reads_hub)


@app.command()
def plan(
    language: Language,
    *,
    recipe: RecipeName = None,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    strict_data: StrictData = False,
    tasks: TaskNames = None,
    score: Scored = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Print the stages of a run and which of them are done, without running any."""
    options = ScaleOptions(data, teacher, strict_data, tasks, score)
    chosen, name = plan_chosen_run(language, recipe, scale, options)
    print_plan(f"{language}/{name}", chosen.plan, Store(runs))


@app.command()
def report(
    language: Language,
    *,
    recipe: RecipeName = None,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    strict_data: StrictData = False,
    tasks: TaskNames = None,
    score: Scored = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Print the report of a finished run."""
    options = ScaleOptions(data, teacher, strict_data, tasks, score)
    chosen, name = plan_chosen_run(language, recipe, scale, options)
    if Store(runs).find(chosen.plan.keys["report"]) is None:
        raise HarnessError(
            f"report: expected a finished run {language}/{name} in {runs}; got none; run `harness reproduce`"
        )
    folder = publish_run(chosen, Store(runs), locate_run(runs, language, name))
    text = (folder / "report.md").read_text(encoding="utf-8")
    out.print(Markdown(text) if out.is_terminal else text, soft_wrap=not out.is_terminal, markup=False)


@app.command()
def pretrain(
    target: Annotated[Path, typer.Option("--out", help="folder to write the teacher to")],
    scale: ScaleName = "mini",
    data: Data = None,
    runs: Runs = DEFAULT_RUNS,
    checkpoint_every: CheckpointEvery = None,
) -> None:
    """Train a multilingual teacher of the scale's size, on a data folder or on the built-in languages."""
    amount = choose_scale(scale, ScaleOptions(data))
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
