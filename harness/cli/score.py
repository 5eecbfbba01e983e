"""The command that scores models, whoever made them: score."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from harness.cli import doctor
from harness.cli.app import DEFAULT_RUNS, Data, Runs, ScaleName, app, err, out, print_table, scale_of
from harness.cli.watch import Watch
from harness.config.load import check_scale
from harness.config.scale import Scale
from harness.errors import UsageError
from harness.pipeline.execute import execute
from harness.pipeline.store import Store
from harness.stages import RUNNERS

Models = Annotated[
    list[str],
    typer.Option("--model", help="a model's folder, or hub id with @revision; several are compared"),
]
Names = Annotated[
    str | None,
    typer.Option("--tasks", help="tasks, as pos,topic; default: all that --data has, or else the scale's"),
]
Seeds = Annotated[str | None, typer.Option("--seeds", help="seeds, as 1,2,3,4,5; default: the scale's")]
Baselines = Annotated[
    str | None,
    typer.Option("--baselines", help="of random,static,tfidf,majority, or none; default: the scale's"),
]
MethodName = Annotated[
    str | None,
    typer.Option("--method", help="full, adapter, lora, sft; default: the scale's, or else full"),
]


@app.command()
def score(
    model: Models,
    language: Annotated[str, typer.Option("--lang", help="language code, as mt")],
    *,
    data: Data = None,
    tasks: Names = None,
    seeds: Seeds = None,
    baselines: Baselines = None,
    method: MethodName = None,
    scale: ScaleName = "paper",
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Fine-tune and score any encoders on a language's tasks, beside baselines, with intervals and tests."""
    from harness.plans.scorecard import collect_scores, find_model_sources, plan_evaluation  # noqa: PLC0415  loads torch

    amount = _asked(scale_of(scale, data, None), tasks, seeds, baselines, method)
    card = plan_evaluation(find_model_sources(model), language, amount)
    name = f"{language}/score-{card.models[0].id}-{amount.name}"
    with Watch(err, len(card.plan)) as watch:
        finished = execute(
            card.plan, Store(runs), name, RUNNERS, observer=watch, environment=doctor.environment
        )
    found = collect_scores(card, finished)
    path = runs / name / "scores.json"
    path.parent.mkdir(parents=True, exist_ok=True)  # not there where another run has made all the stages
    path.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for task, reason in card.missing_tasks.items():
        err.print(f"not scored: {task}, since {reason}", markup=False)
    for task, metric in card.tasks.items():
        print_table(_table(found, task, metric))
        out.print(_leakage(found["data"][task]), soft_wrap=True)
    out.print(f"scores, signatures and comparisons: {path}", soft_wrap=True)


def _asked(
    scale: Scale, tasks: str | None, seeds: str | None, baselines: str | None, method: str | None
) -> Scale:
    """Gives the scale with what the options ask for, checked as a scale's own file is."""
    changed = scale.model_dump(mode="json", exclude_none=True)
    if tasks is not None:
        changed["tasks"] |= {"names": tasks.split(","), "others": False}
    if seeds is not None:
        changed["score"]["seeds"] = [int(seed) if seed.isdecimal() else seed for seed in seeds.split(",")]
    if method is not None:
        changed["score"]["method"] = method
    if baselines is not None:
        changed["score"]["baselines"] = [] if baselines == "none" else baselines.split(",")
        if "trimmed" in changed["score"]["baselines"]:
            raise UsageError(
                "--baselines trimmed: wanted baselines that need no corpus; got one that does; "
                "run `harness reproduce`, which makes it"
            )
    return check_scale("score", changed)


def _table(found: dict[str, Any], task: str, metric: str) -> Table:
    first = next(iter(found["names"]))
    n_test = found["scores"][first][task]["n_test"]
    table = Table(
        "model", f"{metric}, %", "95 % interval", "by seed", f"beside {first}", "p, Holm", "verdict",
        title=f"{task}, {n_test} test items", title_justify="left",
    )  # fmt: skip
    beside = {row["model"]: row for row in found["comparisons"] if row["task"] == task}
    for model, name in found["names"].items():
        cell, row = found["scores"][model][task]["metrics"][metric], beside.get(model)
        spread = "" if cell["std"] is None else f" ± {_points(cell['std'])}"
        cells = [f"{_points(cell['mean'])}{spread}", f"{_points(cell['low'])} to {_points(cell['high'])}"]
        cells.append(" ".join(map(_points, cell["values"])))
        table.add_row(name, *cells, *(_beside(row) if row else ["–"] * 3))
    return table


def _leakage(facts: dict[str, Any]) -> str:
    leaked = facts["leakage"]
    return (
        f"leakage: {leaked['test']} of {facts['test']} test texts stand in train or dev too, "
        f"{leaked['dev']} of {facts['dev']} dev texts in train\n"
    )


def _beside(row: dict[str, Any]) -> list[str]:
    value, low, high = (f"{100 * row['difference'][name]:+.1f}" for name in ("value", "low", "high"))
    return [f"{value} ({low} to {high})", f"{row['p_holm']:.4f}", row["verdict"]]


def _points(share: float) -> str:
    return f"{100 * share:.1f}"
