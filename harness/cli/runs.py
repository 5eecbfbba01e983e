"""Commands that make runs and read them: reproduce, plan, report, pretrain, verify."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown

from harness.cli import doctor
from harness.cli.app import (
    DEFAULT_RECIPE,
    DEFAULT_RUNS,
    Data,
    Language,
    RecipeName,
    Runs,
    ScaleName,
    Teacher,
    app,
    blueprint_of,
    err,
    out,
    scale_of,
)
from harness.cli.publish import publish_model, publish_run, run_folder
from harness.cli.watch import Watch, say_plan
from harness.errors import HarnessError
from harness.pipeline.execute import execute
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.store import Store
from harness.pipeline.verify import verify as find_damage
from harness.plans.run import reads_hub
from harness.plans.run_inputs import plan_pretraining
from harness.stages import RUNNERS


@app.command()
def reproduce(
    language: Language,
    *,
    recipe: RecipeName = DEFAULT_RECIPE,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Run a recipe on a language, from corpus to report; what is done already is kept."""
    blueprint, name = blueprint_of(language, recipe, scale, data, teacher)
    store = Store(runs)
    _execute(blueprint.plan, store, f"{language}/{name}")
    folder = publish_run(blueprint, store, run_folder(runs, language, name))
    for task, reason in blueprint.missing_tasks.items():
        err.print(f"not scored: {task}, since {reason}", markup=False)
    out.print(
        f"report: {folder / 'report.md'}  {folder / 'report.html'}  {folder / 'results.json'}", soft_wrap=True
    )
    if blueprint.tasks:
        out.print(f"model:  {folder / 'onnx'}", soft_wrap=True)


def _execute(
    plan: Plan, store: Store, folder: str, selected: Callable[[Stage], bool] = lambda _: True
) -> None:
    with Watch(err, sum(map(selected, plan))) as watch:
        execute(
            plan, store, folder, RUNNERS, observer=watch, environment=doctor.environment, selected=selected
        )


@app.command()
def download(
    language: Language,
    *,
    recipe: RecipeName = DEFAULT_RECIPE,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Make the stages of a run that read the hub, and no others; the run then needs no network."""
    blueprint, name = blueprint_of(language, recipe, scale, data, teacher)
    if any(map(reads_hub, blueprint.plan)):
        _execute(blueprint.plan, Store(runs), f"{language}/{name}", reads_hub)


@app.command()
def plan(
    language: Language,
    *,
    recipe: RecipeName = DEFAULT_RECIPE,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Show the stages of a run and which of them are done, without running any."""
    blueprint, name = blueprint_of(language, recipe, scale, data, teacher)
    say_plan(out, f"{language}/{name}", blueprint.plan, Store(runs))


@app.command()
def report(
    language: Language,
    *,
    recipe: RecipeName = DEFAULT_RECIPE,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Print the report of a finished run."""
    blueprint, name = blueprint_of(language, recipe, scale, data, teacher)
    found = Store(runs).find(blueprint.plan.keys["report"])
    if found is None:
        raise HarnessError(
            f"report: wanted a finished run {language}/{name} in {runs}; got none; run `harness reproduce`"
        )
    folder = publish_run(blueprint, Store(runs), run_folder(runs, language, name))
    text = (folder / "report.md").read_text(encoding="utf-8")
    out.print(Markdown(text) if out.is_terminal else text, soft_wrap=not out.is_terminal, markup=False)


@app.command()
def pretrain(
    target: Annotated[Path, typer.Option("--out", help="where the teacher is put")],
    scale: ScaleName = "mini",
    data: Data = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Train a multilingual teacher, on a data folder or the built-in languages, as the scale says."""
    amount = scale_of(scale, data, None)
    chosen = Plan(plan_pretraining(amount))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise HarnessError(f"--out {target}: wanted a new or empty folder; got one in use; name another")
    store = Store(runs)
    _execute(chosen, store, f"teachers/{amount.name}")
    publish_model(chosen, store, target)
    out.print(f"teacher: {target}", soft_wrap=True)


@app.command()
def verify(runs: Runs = DEFAULT_RUNS) -> None:
    """Read every file of every run again; name those that are not as they were written."""
    if not runs.is_dir():
        raise HarnessError(f"verify: wanted a folder of runs at {runs}; got none; name it by --runs")
    findings = find_damage(runs)
    for finding in findings:
        out.print(f"{finding.path}: {finding.problem}", soft_wrap=True, markup=False)
    if findings:
        raise HarnessError(
            f"verify: {len(findings)} damaged; the next `harness reproduce` makes their stages anew"
        )
    out.print(f"{len(Store(runs).list_stages())} stages, every byte as it was written")
