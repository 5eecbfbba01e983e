"""Time the plan of a grid of 200 languages × 13 recipes, and a grid of 2,000 cells that do nothing.

    python -m benchmarks.grids cells [--languages 200] [--executors local ray] [--record FOLDER]

The data folder has a little text and one task of each language. `mini` trains its teacher on all of them, so
that every cell's plan names all texts. A cell does nothing, but has a worker or a task of Ray, and the
results are collected.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from benchmarks.common.programs import make_parser
from benchmarks.common.recording import describe_environment, write_record
from benchmarks.grids.empty import EmptyCall
from harness.cli.app import app
from harness.config.load import list_recipes

PLANNED, EMPTY = 13, 10
"""Recipes of the grid that is planned, and of the one whose cells do nothing."""


def write_data(folder: Path, number: int) -> list[str]:
    """Write a data folder of so many languages, English among them; return their codes."""
    languages = ["en", *(f"l{number:03d}" for number in range(1, number))]
    for language in languages:
        corpus, topic = folder / "corpus" / language, folder / "topic" / language
        corpus.mkdir(parents=True)
        topic.mkdir(parents=True)
        (corpus / "a.txt").write_text("one two three\n" * 100, encoding="utf-8")
        for part in ("train", "dev", "test"):
            (topic / f"{part}.tsv").write_text("text\tlabel\na\tb\n", encoding="utf-8")
    return languages


def run_command(*words: str) -> tuple[dict[str, float], str]:
    """Run a command of the package in this process; return its seconds, and what it printed."""
    printed, wall_s, cpu_s = StringIO(), time.monotonic(), time.process_time()
    with redirect_stdout(printed):
        app(args=list(words), standalone_mode=False)
    return {
        "wall_s": round(time.monotonic() - wall_s, 2),
        "cpu_s": round(time.process_time() - cpu_s, 2),
    }, printed.getvalue()


def time_grids(folder: Path, number: int, executors: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the seconds and the number of cells of the plan, and of the grid by each executor."""
    languages = write_data(folder / "data", number)
    plan, grid = folder / "plan.yaml", folder / "grid.yaml"
    for file, count in ((plan, PLANNED), (grid, EMPTY)):
        content = {"languages": languages, "recipes": list_recipes()[:count], "data": str(folder / "data")}
        file.write_text(json.dumps(content), encoding="utf-8")
    seconds, printed = run_command("plan", str(plan), "--format", "tsv")
    if printed.count("\n") != number * PLANNED + 1:
        raise ValueError(f"expected a line for each of {number * PLANNED} cells")
    timed = {"plan": {"cells": number * PLANNED, **seconds}}
    with patch("harness.cli.grids.CellCall", EmptyCall):
        for executor in executors:
            options = ["--executor", executor, "--workers", "2", "--runs", str(folder / executor)]
            timed[executor] = {"cells": number * EMPTY, **run_command("grid", str(grid), *options)[0]}
    return timed


def main(given: Sequence[str] | None = None) -> int:
    """Print the table, and write the record where asked."""
    parser = make_parser("benchmarks.grids cells", __doc__)
    parser.add_argument("--languages", type=int, default=200)
    parser.add_argument("--executors", nargs="+", choices=["local", "ray"], default=["local"])
    parser.add_argument("--record", type=Path, help="folder to write the record to")
    asked = parser.parse_args(given)
    with tempfile.TemporaryDirectory() as scratch:
        timed = time_grids(Path(scratch), asked.languages, asked.executors)
    lines = ["| command | cells | seconds | seconds of a processor |", "|---|---:|---:|---:|"]
    titles = {
        "plan": "`harness plan --format tsv`",
        "local": "`harness grid`, two workers",
        "ray": "`harness grid --executor ray`",
    }
    for name, one in timed.items():
        lines.append(f"| {titles[name]} | {one['cells']:,} | {one['wall_s']} | {one['cpu_s']} |")
    print("\n".join(lines))
    if asked.record is not None:
        print(write_record(asked.record, "cells", describe_environment("cpu"), timed, lines))
    return 0
