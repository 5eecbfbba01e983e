"""Commands that set models side by side: compare, ablate, studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import doctor
from harness.cli.app import (
    DEFAULT_RUNS,
    Data,
    Runs,
    ScaleName,
    Teacher,
    app,
    err,
    out,
    rename_recipe,
    scale_of,
)
from harness.cli.publish import publish_stage, run_folder
from harness.cli.watch import Watch
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
from harness.pipeline.execute import execute
from harness.pipeline.store import Store
from harness.plans.study import RefusedError, StudyInfo, StudyPlan, plan_study
from harness.stages import RUNNERS
from harness.units import format_count

Languages = Annotated[list[str], typer.Option("--lang", help="language code, as mt; one")]
OURS = "compact2026"
"""The recipe the others are compared with where it takes part."""


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
    runs: Runs = DEFAULT_RUNS,
    plan: Annotated[bool, typer.Option("--plan", help="say what would be run, and run nothing")] = False,
) -> None:
    """Run all recipes on one teacher, data, seeds and machine, and print the leaderboard."""
    names = [rename_recipe(name.strip()) for name in recipes.split(",")] if recipes else []
    found = load_entries(names)
    ours = OURS if any(one.id == OURS for one in found.entries) else None
    topic = StudyInfo("compare", "the recipes' own sources", "Which recipe gives the best model?", None, ours)
    _hold(topic, found, languages=language, scale=scale_of(scale, data, teacher), runs=runs, plan=plan)


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
    runs: Runs = DEFAULT_RUNS,
    plan: Annotated[bool, typer.Option("--plan", help="say what would be run, and run nothing")] = False,
) -> None:
    """Run variants of a recipe, or a study that ships, and print what they changed."""
    name = rename_recipe(name)
    study = build_study(name, vary) if vary else _study(name)
    found = build_entries(study)
    topic = StudyInfo(f"ablate-{study.name}", study.source, study.question, study.paper, study.reference_id)
    _hold(topic, found, languages=language, scale=scale_of(scale, data, teacher), runs=runs, plan=plan)


def _study(name: str) -> Study:
    if name.partition("@")[0] in list_recipes():
        raise UsageError(
            f"ablate {name}: wanted what to vary; got none; add --vary, as --vary distill.temperature=1,2,4"
        )
    return load_study(name)


@app.command()
def studies() -> None:
    """List the studies that ship, and what each asks."""
    for name in list_studies():
        study = load_study(name)
        out.print(f"{name}  –  {study.question} ({study.source})", soft_wrap=True, markup=False)


def _hold(
    topic: StudyInfo,
    found: Entries,
    *,
    languages: Sequence[str],
    scale: Scale,
    runs: Path,
    plan: bool,
) -> None:
    """Draws a study whole, refuses what cannot be, runs it and prints its table."""
    if len(languages) != 1:
        raise UsageError(
            f"--lang: wanted one language; got {', '.join(languages)}; run the command once for each"
        )
    contest = _drawn(topic, languages[0], found, scale)
    if plan:
        _say(contest)
        return
    store, name = Store(runs), f"{topic.name}-{scale.name}"
    with Watch(err, len(contest.plan)) as watch:
        execute(
            contest.plan,
            store,
            f"{languages[0]}/{name}",
            RUNNERS,
            observer=watch,
            environment=doctor.environment,
        )
    folder = run_folder(runs, languages[0], name)
    publish_stage(contest.plan, store, "leaderboard", folder)
    text = (folder / "leaderboard.md").read_text(encoding="utf-8")
    out.print(text.partition("\n## ONNX")[0], soft_wrap=True, markup=False)
    for task, reason in contest.missing_tasks.items():
        err.print(f"not scored: {task}, since {reason}", markup=False)
    out.print(
        f"leaderboard: {folder / 'leaderboard.md'}  {folder / 'leaderboard.html'}  {folder / 'results.json'}",
        soft_wrap=True,
        markup=False,
    )


def _drawn(topic: StudyInfo, language: str, found: Entries, scale: Scale) -> StudyPlan:
    try:
        return plan_study(topic, language, found, scale)
    except RefusedError as refused:
        for line in refused.lines:
            err.print(line, soft_wrap=True, markup=False)
        raise


def _say(contest: StudyPlan) -> None:
    """Prints who takes part, and how much work there is."""
    for entry in contest.entries:
        out.print(
            f"{entry.name}: {', '.join(step.id for step in entry.recipe.steps)}", soft_wrap=True, markup=False
        )
    work = contest.workload
    passes = f", {work.num_epoch_steps} steps of whole passes over it" if work.num_epoch_steps else ""
    out.print(
        f"{work.num_stages} stages, {work.num_distinct} of them different: "
        f"{format_count(work.tokens)} tokens of text to train on{passes}, "
        f"{work.num_finetunings} fine-tunings",
        soft_wrap=True,
        markup=False,
    )
