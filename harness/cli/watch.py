"""What the commands show while they work: a line a stage, a bar for the one that runs."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from harness.config.recipe import Recipe
from harness.config.show import RecipeRow
from harness.pipeline.execute import Observer
from harness.pipeline.manifest import Manifest
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.status import status
from harness.pipeline.store import Store
from harness.units import format_count, format_duration, format_short

_QUIET_S = 30.0
"""Where there is no terminal, a running stage says a line this often."""


class Watch(Observer):
    """Shows a run: on a terminal a bar with rate and time left, elsewhere a line now and then."""

    def __init__(self, console: Console, num_stages: int) -> None:
        self.console = console
        self.num_stages = num_stages
        self.num_seen = 0
        self.num_skipped = 0
        self.began_s = self.spoken_s = time.monotonic()
        self.first: tuple[float, int] | None = None
        self.bar: TaskID | None = None
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[told]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()
        if error is None:
            made = self.num_seen - self.num_skipped
            spent = format_duration(time.monotonic() - self.began_s)
            self._say(f"{made} stages run, {self.num_skipped} were there already, in {spent}")

    def stage_started(self, stage: Stage, folder: Path, resuming: bool) -> None:
        """Draws a bar for the stage."""
        del folder
        self.first, self.spoken_s = None, time.monotonic()
        told = "going on from a checkpoint" if resuming else ""
        self.bar = self.bars.add_task(f"{self._place(1)} {stage.id}", total=None, told=told)
        if resuming:
            self._say(f"{self._place(1)} {stage.id}: going on from its last checkpoint")

    def progress(self, stage: Stage, done: int, total: int, unit: str, values: dict[str, Any]) -> None:
        """Moves the bar."""
        now_s = time.monotonic()
        if self.first is None or done < self.first[1]:
            self.first = (now_s, done)
        spent_s, moved = now_s - self.first[0], done - self.first[1]
        rate = f"{format_short(moved / spent_s)} {unit}/s" if spent_s > 0.5 and moved else ""
        shown = "  ".join(f"{name} {value:.3g}" for name, value in values.items() if not math.isnan(value))
        told = "  ".join(
            part for part in (f"{format_short(done)}/{format_short(total)} {unit}", rate, shown) if part
        )
        if self.bar is not None:
            self.bars.update(self.bar, completed=done, total=total, told=told)
        if not self.console.is_terminal and now_s - self.spoken_s > _QUIET_S:
            self.spoken_s = now_s
            self._say(f"{self._place(1)} {stage.id}: {told}")

    def stage_finished(self, stage: Stage, folder: Path, written: Manifest) -> None:
        """Says how long it took."""
        del folder
        self._close()
        self.num_seen += 1
        self._say(f"{self._place()} {stage.id}: done in {format_duration(written.wall_s)}{_figures(written)}")

    def stage_skipped(self, stage: Stage, folder: Path, written: Manifest) -> None:
        """Counts it."""
        del stage, folder, written
        self.num_seen += 1
        self.num_skipped += 1

    def waiting(self, stage: Stage, holder: str) -> None:
        """Says for whom."""
        self._say(f"{self._place(1)} {stage.id}: waiting for {holder}, which is making it")

    def _place(self, ahead: int = 0) -> str:
        return f"[{self.num_seen + ahead}/{self.num_stages}]"

    def _close(self) -> None:
        if self.bar is not None:
            self.bars.remove_task(self.bar)
            self.bar = None

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True)


def _figures(written: Manifest) -> str:
    """Gives the figures of a finished stage that are worth a glance."""
    told = []
    parameters = written.facts.get("parameters")
    if parameters:
        told.append(f"{format_short(sum(parameters.values()))} parameters")
    held_out = written.facts.get("held_out")
    if held_out:
        told.append(f"held-out loss {held_out['loss']:.3f}")
    metrics = written.facts.get("scores", {}).get("metrics", {})
    told += [f"{name} {100 * cell['mean']:.1f} %" for name, cell in metrics.items()]
    return f" ({', '.join(told)})" if told else ""


def say_plan(console: Console, name: str, plan: Plan, store: Store) -> None:
    """Prints the stages of a plan and how far each is."""
    table = Table("", "stage", "kind", "state", "key", title=name, title_justify="left")
    for number, row in enumerate(status(plan, store), start=1):
        table.add_row(str(number), row.stage.id, row.stage.kind, row.state, row.key)
    console.print(table)


def say_steps(console: Console, recipe: Recipe, rows: Sequence[RecipeRow]) -> None:
    """Prints a recipe's steps with the parameters after each."""
    table = Table(
        "step", "what", "layers", "hidden", "heads", "FFN", "tokens", "parameters", "change",
        title=f"{recipe.name}  –  {recipe.source}", title_justify="left",
    )  # fmt: skip
    for row in rows:
        shape = row.shape
        sizes = (shape.layers, shape.hidden, shape.heads, shape.ffn)
        change = format_count(row.delta) if row.delta else "–"
        table.add_row(
            row.id,
            row.description,
            *map(str, sizes),
            format_count(shape.vocabulary),
            format_count(row.parameters),
            change,
        )
    console.print(table)
    if recipe.source_language:
        console.print(f"source language: {recipe.source_language}", markup=False)
    for note in recipe.notes:
        console.print(f"note: {note}", markup=False)
    if recipe.variants:
        console.print(
            f"variants: {', '.join(f'{recipe.name}@{one}' for one in recipe.variants)}", markup=False
        )
