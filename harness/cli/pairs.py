"""The command that scores models on minimal pairs: pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from harness.api.pair_scores import PairScore, score_pairs
from harness.cli.app import AsJson, Device, Threads, app, err, hint, print_json, print_table
from harness.cli.device import select_device
from harness.cli.score import Models
from harness.cli.threads import select_threads
from harness.verdict import describe_verdict


@app.command()
def pairs(
    file: Annotated[Path, typer.Argument(help="a table with the columns sen and wrong_sen, as MultiBLiMP's")],
    model: Models,
    *,
    device: Device = "auto",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Count the minimal pairs in which a model finds the sentence without the error more likely."""
    select_threads(threads, hint)
    select_device(device)
    with err.status("reading") as line:
        scores = score_pairs(
            model, file, progress=lambda name, done, total: line.update(f"{escape(name)}: {done}/{total}")
        )
    if as_json:
        print_json([asdict(score) for score in scores])
        return
    print_table(_tabulate(scores), keys=2)


def _tabulate(scores: Sequence[PairScore]) -> Table:
    header = ("model", "phenomenon", "pairs", "right, %", "95 % interval", "compared with the first")
    table = Table(*header, "p, Holm", "verdict")
    for score in scores:
        shares = [f"{100 * score.value:.1f}", f"{100 * score.low:.1f} to {100 * score.high:.1f}"]
        name = score.phenomenon or "all"
        table.add_row(score.model, name, str(score.num_pairs), *shares, *_format_comparison(score))
    return table


def _format_comparison(score: PairScore) -> list[str]:
    if score.difference is None or score.p_holm is None or score.verdict is None:
        return ["–"] * 3
    value, low, high = (f"{100 * share:+.1f}" for share in score.difference)
    return [f"{value} ({low} to {high})", f"{score.p_holm:.4f}", describe_verdict(score.verdict)]
