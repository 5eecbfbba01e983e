"""The command that scores any models: score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.table import Table

from harness.api.options import DEFAULT_RUNS, ScaleOptions, choose_scale
from harness.api.scoring import change_protocol, finish_scores, plan_model_scores
from harness.baselines import list_scorecard_baselines
from harness.cli.app import (
    AsJson,
    Data,
    Device,
    Runs,
    ScaleName,
    Seed,
    StrictData,
    TaskNames,
    Threads,
    app,
    err,
    hint,
    out,
    print_json,
    print_table,
)
from harness.cli.device import select_device
from harness.cli.threads import select_threads
from harness.cli.watch import Watch
from harness.stages.io.facts import FinetunedScoresFacts
from harness.stages.io.finetuning_notes import describe_finetunings, describe_imbalance
from harness.verdict import describe_verdict

Models = Annotated[
    list[str],
    typer.Option("--model", help="a model's folder, or hub id with @revision; several are compared"),
]
Seeds = Annotated[str | None, typer.Option("--seeds", help="seeds, as 1,2,3,4,5; default: the scale's")]
Baselines = Annotated[
    str | None,
    typer.Option(
        "--baselines", help=f"of {','.join(list_scorecard_baselines())}, or none; default: the scale's"
    ),
]
MethodName = Annotated[
    str | None,
    typer.Option("--method", help="full, adapter, lora, sft; default: the scale's, or else full"),
]


@app.command()
def score(
    model: Models,
    language: Annotated[str, typer.Option("--lang", "--language", help="language code, as mt")],
    *,
    data: Data = None,
    tasks: TaskNames = None,
    seeds: Seeds = None,
    baselines: Baselines = None,
    method: MethodName = None,
    scale: ScaleName = "paper",
    strict_data: StrictData = False,
    seed: Seed = None,
    device: Device = "auto",
    threads: Threads = None,
    runs: Runs = DEFAULT_RUNS,
    as_json: AsJson = False,
) -> None:
    """Fine-tune and score any encoders and baselines on a language's tasks, with intervals and tests."""
    select_threads(threads, hint)
    select_device(device)
    options = ScaleOptions(data, strict_data=strict_data, tasks=tasks, seed=seed)
    amount = change_protocol(
        choose_scale(scale, options), _read_seeds(seeds), _read_baselines(baselines), method
    )
    planned = plan_model_scores(model, language, amount)
    for note in planned.card.tokenizer_notes:
        err.print(f"warning: {note}", markup=False, soft_wrap=True)
    with Watch(err, len(planned.card.plan)) as watch:
        card = finish_scores(planned, runs, observer=watch)
    scores = card.scores
    for task, reason in card.missing_tasks.items():
        err.print(f"not scored: {task}, since {reason}", markup=False)
    if as_json:
        print_json(scores)
        return
    for task, metric in card.tasks.items():
        print_table(_tabulate(scores, task, metric))
        for remark in _list_remarks(scores, task):
            out.print(remark, markup=False, soft_wrap=True)
        out.print(_describe_leakage(scores["data"][task]), soft_wrap=True)
    out.print(f"scores, signatures and comparisons: {card.path}", soft_wrap=True)


def _read_seeds(listed: str | None) -> list[object] | None:
    """Read seeds as 1,2,3; what is no number is refused with the place of the seeds in a scale."""
    return None if listed is None else [int(one) if one.isdecimal() else one for one in listed.split(",")]


def _read_baselines(listed: str | None) -> list[str] | None:
    if listed is None:
        return None
    return [] if listed == "none" else listed.split(",")


def _tabulate(scores: Mapping[str, Any], task: str, metric: str) -> Table:
    first = next(iter(scores["names"]))
    n_test = scores["scores"][first][task]["n_test"]
    table = Table(
        "model", f"{metric}, %", "95 % interval", "by seed", f"compared with {first}", "p, Holm", "verdict",
        title=f"{task}, {n_test} test items", title_justify="left",
    )  # fmt: skip
    comparisons = {row["model"]: row for row in scores["comparisons"] if row["task"] == task}
    for model, name in scores["names"].items():
        cell, row = scores["scores"][model][task]["metrics"][metric], comparisons.get(model)
        spread = "" if cell["std"] is None else f" ± {_format_points(cell['std'])}"
        cells = [
            f"{_format_points(cell['mean'])}{spread}",
            f"{_format_points(cell['low'])} to {_format_points(cell['high'])}",
        ]
        cells.append(" ".join(map(_format_points, cell["values"])))
        table.add_row(name, *cells, *(_format_comparison(row) if row else ["–"] * 3))
    return table


def _list_remarks(scores: Mapping[str, Any], task: str) -> Iterator[str]:
    """Return remarks on the fine-tunings on a task, and on its labels."""
    imbalance = None
    for model, name in scores["names"].items():
        facts = scores["scores"][model][task]
        if "majority" not in facts:
            continue
        finetuned = FinetunedScoresFacts.model_validate(facts)
        imbalance = imbalance or describe_imbalance(finetuned.majority)
        yield from (f"{name}: {note}" for note in describe_finetunings(finetuned))
    if imbalance is not None:
        yield f"{task}: {imbalance}"


def _describe_leakage(facts: Mapping[str, Any]) -> str:
    leaked = facts["leakage"]
    return (
        f"leakage: {leaked['test']} of {facts['test']} test texts are also in train or dev, "
        f"{leaked['dev']} of {facts['dev']} dev texts in train\n{_describe_repeats(facts)}"
    )


def _describe_repeats(facts: Mapping[str, Any]) -> str:
    """Return a line for duplicates and contradictions in any part, and a line for each note on the data."""
    counts = facts.get("repeats", {})
    named = {"duplicates": "texts that repeat an earlier one", "contradictions": "texts with two labels"}
    lines = [
        f"{named[kind]}: " + ", ".join(f"{part} {counts[part][kind]}" for part in counts)
        for kind in named
        if any(counts[part][kind] for part in counts)
    ]
    return "".join(f"{line}\n" for line in [*lines, *facts["notes"]])


def _format_comparison(row: Mapping[str, Any]) -> list[str]:
    value, low, high = (f"{100 * row['difference'][name]:+.1f}" for name in ("value", "low", "high"))
    return [f"{value} ({low} to {high})", f"{row['p_holm']:.4f}", describe_verdict(row["verdict"])]


def _format_points(share: float) -> str:
    return f"{100 * share:.1f}"
