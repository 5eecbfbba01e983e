"""Commands that make runs and read them: reproduce, download, plan, report, pretrain, verify."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown

from harness.api.options import DEFAULT_RUNS, ScaleOptions, choose_scale, plan_chosen_run
from harness.api.publish import locate_run, publish_model, publish_run
from harness.api.running import FinishedRun, finish_run, list_untimed, run_stages
from harness.cli.app import (
    AsJson,
    CheckpointEvery,
    Data,
    Device,
    Language,
    LanguageOption,
    RecipeName,
    Runs,
    ScaleName,
    Scored,
    Seed,
    StrictData,
    TaskNames,
    Teacher,
    Threads,
    Track,
    Workers,
    app,
    choose_language,
    err,
    hint,
    out,
    print_json,
)
from harness.cli.grids import check_grid, print_cells
from harness.cli.processes import Processes, join_processes, start_processes
from harness.cli.shape_table import print_shapes
from harness.cli.watch import Watch, print_plan
from harness.cli.worker_choice import WorkerChoice
from harness.deploy.site import TITLES
from harness.errors import HarnessError, UsageError
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.process_group import fail_together, refuse_other_plans
from harness.pipeline.status import status
from harness.pipeline.store import Store
from harness.pipeline.verify import verify as find_damage
from harness.plans.estimate import estimate_plan
from harness.plans.run import reads_hub
from harness.plans.run_inputs import plan_pretraining
from harness.plans.shared_batches import refuse_unshareable
from harness.report.answer import write_answer
from harness.report.escaping import drop_control_characters
from harness.train.trackers import check_trackers

LOG = "log.txt"
"""The file of a run with what was printed, and when."""
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
    threads: Threads = None,
    runs: Runs = DEFAULT_RUNS,
    checkpoint_every: CheckpointEvery = None,
    track: Track = None,
    workers: Workers = "1",
    without_times: Annotated[
        bool,
        typer.Option(
            "--without-times",
            help="end before the stages that measure time; the same command without it adds them",
        ),
    ] = False,
    processes: Processes = None,
) -> None:
    """Run a recipe on a language, from corpus to report; finished stages are kept."""
    start_processes(processes)
    with join_processes(device, threads, workers) as (group, chosen):
        with fail_together(group):
            trackers = check_trackers(track.split(",") if track else ())
            language = choose_language(language, lang)
            options = ScaleOptions(data, teacher, strict_data, tasks, score, seed)
            planned = plan_chosen_run(language, recipe, scale, options, hint)
            refuse_unshareable(planned.plan.plan, group.size)
        refuse_other_plans(group, planned.plan.plan.keys)
        trackers = () if group.rank else trackers
        log = None if group.rank else locate_run(runs, planned.language, planned.name) / LOG
        if without_times:
            untimed = list_untimed(planned.plan.plan)
            with _watch(planned.plan.plan, Store(runs), untimed, log, chosen) as watch:
                run_stages(
                    planned.plan.plan,
                    Store(runs),
                    planned.folder,
                    observer=watch,
                    selected=untimed,
                    checkpoint_s=checkpoint_every,
                    trackers=trackers,
                    workers=watch.num_workers,
                    gpus=chosen.gpus,
                    group=group,
                )
            return
        with _watch(planned.plan.plan, Store(runs), log=log, workers=chosen) as watch:
            run = finish_run(
                planned,
                runs,
                observer=watch,
                checkpoint_s=checkpoint_every,
                trackers=trackers,
                workers=watch.num_workers,
                gpus=chosen.gpus,
                group=group,
            )
        _print_run(run)


def _print_run(run: FinishedRun) -> None:
    """Print where a finished run left its files, and its answer in sentences."""
    for task, reason in run.missing_tasks.items():
        err.print(f"not scored: {task}, since {reason}", markup=False)
    names = ("report.md", "report.html", "results.json")
    out.print(f"report: {'  '.join(str(run.folder / name) for name in names)}", soft_wrap=True)
    out.print(f"student: {run.student}  (AutoModelForMaskedLM.from_pretrained loads it)", soft_wrap=True)
    for task, export in run.exports.items():
        use = f"harness demo {export}" if task in TITLES else "its README.md says how to use it"
        out.print(f"ONNX: {export}  ({use})", soft_wrap=True)
    for sentence in write_answer(run.results):
        out.print(drop_control_characters(sentence), soft_wrap=True, markup=False, highlight=False)


def _watch(
    plan: Plan,
    store: Store,
    selected: Callable[[Stage], bool] = lambda _: True,
    log: Path | None = None,
    workers: WorkerChoice = WorkerChoice(1),  # noqa: B008  frozen
) -> Watch:
    """Return what prints the progress of a plan's selected stages, and writes it to a log with times."""
    rows = [row for row in status(plan, store) if selected(row.stage)]
    estimate = estimate_plan(plan, rows, store)
    return Watch(err, len(rows), estimate.stage_seconds, log, workers.fit_memory(estimate.memory_bytes))


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
    planned = plan_chosen_run(language, recipe, scale, options, hint)
    plan, store = planned.plan.plan, Store(runs)
    if any(map(reads_hub, plan)):
        with _watch(plan, store, reads_hub) as watch:
            run_stages(plan, store, planned.folder, observer=watch, selected=reads_hub)


@app.command()
def plan(
    language: Annotated[
        str | None,
        typer.Argument(metavar="[LANGUAGE|GRID.yaml]", help="language code, as mt, or the file of a grid"),
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
    form: Annotated[
        str, typer.Option("--format", help="table, json, or tsv: tab-separated values")
    ] = "table",
    budget: Annotated[
        str | None,
        typer.Option("--budget", metavar='"4 MB int8, 5 ms"', help="propose the students that fit, instead"),
    ] = None,
    length: Annotated[
        int | None, typer.Option("--length", min=2, help="of --budget: tokens; default: the scale's longest")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="of --budget: threads of the file; default: 1")
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write", help="of --budget: write the recipe of the first student here")
    ] = None,
) -> None:
    """Print the stages of a run, the cells of a grid, or the students that fit a budget; run none."""
    if form not in {"table", "json", "tsv"}:
        raise UsageError(f"--format: expected table, json or tsv; got '{form}'; choose one of them")
    for name, value in (("--length", length), ("--threads", threads), ("--write", write)):
        if value is not None and budget is None:
            raise UsageError(f"{name}: expected --budget too; got none; add it")
    if language is not None and language.endswith((".yaml", ".yml")):
        if budget is not None:
            raise UsageError("--budget: expected a language; got the file of a grid; name a language")
        if form != "tsv":
            raise UsageError("plan: expected --format tsv for the cells of a grid; got another; add it")
        print_cells(check_grid(Path(language)), runs)
        return
    language = choose_language(language, lang)
    options = ScaleOptions(data, teacher, strict_data, tasks, score, seed)
    if budget is not None:
        print_shapes(
            budget,
            language,
            recipe=recipe,
            scale=scale,
            options=options,
            length=length,
            threads=threads or 1,
            write=write,
            as_json=as_json or form == "json",
        )
        return
    planned = plan_chosen_run(language, recipe, scale, options, hint)
    print_plan(planned.folder, planned.plan.plan, Store(runs), form="json" if as_json else form)


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
    planned = plan_chosen_run(language, recipe, scale, options, hint)
    if Store(runs).find(planned.plan.plan.keys["report"]) is None:
        raise HarnessError(
            f"report: expected a finished run {planned.folder} in {runs}; got none; run `harness reproduce` "
            "with the same options, or name a run's folder"
        )
    _print_report(
        publish_run(planned.plan, Store(runs), locate_run(runs, planned.language, planned.name)),
        as_json=as_json,
    )


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
    threads: Threads = None,
    runs: Runs = DEFAULT_RUNS,
    checkpoint_every: CheckpointEvery = None,
    processes: Processes = None,
) -> None:
    """Train a multilingual teacher of the scale's size, on a data folder or on the built-in languages."""
    start_processes(processes)
    with join_processes(device, threads) as (group, _):
        with fail_together(group):
            amount = choose_scale(scale, ScaleOptions(data, seed=seed))
            stages = Plan(plan_pretraining(amount))
            refuse_unshareable(stages, group.size)
            if target.exists() and (not target.is_dir() or any(target.iterdir())):
                raise HarnessError(
                    f"--out {target}: expected a new or empty folder; got one in use; name another"
                )
        refuse_other_plans(group, stages.keys)
        store = Store(runs)
        with _watch(stages, store) as watch:
            run_stages(
                stages,
                store,
                f"teachers/{amount.name}",
                observer=watch,
                checkpoint_s=checkpoint_every,
                group=group,
            )
        group.share(lambda: publish_model(stages, store, target))
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
