"""Commands that compare models: compare, ablate, studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.api.options import DEFAULT_RUNS, ScaleOptions, choose_scale, rename_recipe
from harness.api.publish import locate_run, publish_stage
from harness.api.running import run_stages
from harness.cli.app import (
    CheckpointEvery,
    Data,
    Device,
    Runs,
    ScaleName,
    Seed,
    StrictData,
    TaskNames,
    Teacher,
    Threads,
    Workers,
    app,
    err,
    hint,
    out,
)
from harness.cli.device import select_device
from harness.cli.watch import Watch
from harness.cli.worker_choice import WorkerChoice, select_workers
from harness.config.load import list_recipes
from harness.config.scale import Scale
from harness.config.study import (
    Entries,
    Study,
    build_entries,
    build_study,
    list_studies,
    load_entries,
    load_study,
)
from harness.errors import UsageError
from harness.pipeline.status import status
from harness.pipeline.store import Store
from harness.plans.estimate import estimate_plan
from harness.plans.study import RefusedError, StudyInfo, StudyPlan, plan_study
from harness.units import format_count

Languages = Annotated[
    list[str], typer.Option("--lang", "--language", help="language code, as mt; exactly one")
]
_QUESTION = "Which recipe gives the best model?"
OURS = "compact2026"
"""The recipe that the others are compared with, if it is one of the compared recipes."""


@app.command()
def compare(
    language: Languages,
    *,
    recipes: Annotated[
        str | None, typer.Option("--recipes", help="as gurgurov2025,eliquare2023@pre; default: all")
    ] = None,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    strict_data: StrictData = False,
    tasks: TaskNames = None,
    seed: Seed = None,
    device: Device = "auto",
    threads: Threads = None,
    runs: Runs = DEFAULT_RUNS,
    checkpoint_every: CheckpointEvery = None,
    workers: Workers = "1",
    plan: Annotated[bool, typer.Option("--plan", help="print what would be run, and run nothing")] = False,
) -> None:
    """Run all recipes on one teacher, data, seeds and machine, and print the leaderboard."""
    select_device(device)
    chosen = select_workers(workers, threads, hint)
    names = [rename_recipe(name.strip(), hint) for name in recipes.split(",")] if recipes else []
    loaded = load_entries(names)
    reference = OURS if any(one.id == OURS for one in loaded.entries) else None
    info = StudyInfo("compare", "the recipes' own sources", _QUESTION, None, reference)
    amount = choose_scale(scale, ScaleOptions(data, teacher, strict_data, tasks, seed=seed))
    _run_study(
        info,
        loaded,
        languages=language,
        scale=amount,
        runs=runs,
        plan=plan,
        checkpoint_s=checkpoint_every,
        workers=chosen,
    )


@app.command()
def ablate(
    name: Annotated[str, typer.Argument(metavar="RECIPE|STUDY", help="with --vary a recipe, else a study")],
    language: Languages,
    *,
    vary: Annotated[
        list[str] | None,
        typer.Option(help="step.field=a,b,c; several are combined"),
    ] = None,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    strict_data: StrictData = False,
    tasks: TaskNames = None,
    seed: Seed = None,
    device: Device = "auto",
    threads: Threads = None,
    runs: Runs = DEFAULT_RUNS,
    checkpoint_every: CheckpointEvery = None,
    workers: Workers = "1",
    plan: Annotated[bool, typer.Option("--plan", help="print what would be run, and run nothing")] = False,
) -> None:
    """Run variants of a recipe, or an included study, and print their differences."""
    select_device(device)
    chosen = select_workers(workers, threads, hint)
    name = rename_recipe(name, hint)
    study = build_study(name, vary) if vary else _load_study(name)
    built = build_entries(study)
    info = StudyInfo(f"ablate-{study.name}", study.source, study.question, study.paper, study.reference_id)
    amount = choose_scale(scale, ScaleOptions(data, teacher, strict_data, tasks, seed=seed))
    _run_study(
        info,
        built,
        languages=language,
        scale=amount,
        runs=runs,
        plan=plan,
        checkpoint_s=checkpoint_every,
        workers=chosen,
    )


def _load_study(name: str) -> Study:
    if name.partition("@")[0] in list_recipes():
        raise UsageError(
            f"ablate {name}: expected a field to vary; got none; add one, as --vary distill.temperature=1,2,4"
        )
    return load_study(name)


@app.command()
def studies() -> None:
    """List the included studies with their questions."""
    for name in list_studies():
        study = load_study(name)
        out.print(f"{name}  –  {study.question} ({study.source})", soft_wrap=True, markup=False)


def _run_study(
    info: StudyInfo,
    entries: Entries,
    *,
    languages: Sequence[str],
    scale: Scale,
    runs: Path,
    plan: bool,
    checkpoint_s: float | None,
    workers: WorkerChoice,
) -> None:
    """Plan a study, refuse entries that cannot be run, run the study and print its table."""
    if len(languages) != 1:
        raise UsageError(
            f"--lang: expected one language; got {', '.join(languages)}; run the command once for each"
        )
    study = _plan_study(info, languages[0], entries, scale)
    if plan:
        _print_workload(study)
        return
    store, name = Store(runs), f"{info.name}-{scale.name}"
    memory = estimate_plan(study.plan, status(study.plan, store), store).memory_bytes
    with Watch(err, len(study.plan), num_workers=workers.fit_memory(memory)) as watch:
        run_stages(
            study.plan,
            store,
            f"{languages[0]}/{name}",
            observer=watch,
            checkpoint_s=checkpoint_s,
            workers=watch.num_workers,
            gpus=workers.gpus,
        )
    folder = locate_run(runs, languages[0], name)
    publish_stage(study.plan, store, "leaderboard", folder)
    text = (folder / "leaderboard.md").read_text(encoding="utf-8")
    out.print(text.partition("\n## ONNX")[0], soft_wrap=True, markup=False)
    for task, reason in study.missing_tasks.items():
        err.print(f"not scored: {task}, since {reason}", markup=False)
    out.print(
        f"leaderboard: {folder / 'leaderboard.md'}  {folder / 'leaderboard.html'}  {folder / 'results.json'}",
        soft_wrap=True,
        markup=False,
    )


def _plan_study(info: StudyInfo, language: str, entries: Entries, scale: Scale) -> StudyPlan:
    try:
        return plan_study(info, language, entries, scale)
    except RefusedError as refused:
        for line in refused.lines:
            err.print(line, soft_wrap=True, markup=False)
        raise


def _print_workload(study: StudyPlan) -> None:
    """Print the entries and the amount of work."""
    for entry in study.entries:
        out.print(
            f"{entry.name}: {', '.join(step.id for step in entry.recipe.steps)}", soft_wrap=True, markup=False
        )
    work = study.workload
    passes = f", {work.num_epoch_steps} steps with whole passes over the text" if work.num_epoch_steps else ""
    out.print(
        f"{work.num_stages} stages, {work.num_distinct} of them different: "
        f"{format_count(work.tokens)} tokens of text to train on{passes}, "
        f"{work.num_finetunings} fine-tunings",
        soft_wrap=True,
        markup=False,
    )
