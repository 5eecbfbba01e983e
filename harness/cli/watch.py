"""Print the progress of a run: a line for each stage, and a bar for the running stage."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from harness.cli.app import out, print_table
from harness.config.recipe import Recipe
from harness.config.show import RecipeRow
from harness.pipeline.execute import Observer
from harness.pipeline.manifest import Manifest
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.status import status
from harness.pipeline.store import Store
from harness.stages.io.facts import CorporaFacts, FetchFacts, ScoringFacts, SizeFacts, StepFacts, TasksFacts
from harness.stages.table import KINDS, read_facts
from harness.units import format_count, format_duration, format_short

_QUIET_S = 30.0
"""Without a terminal, a running stage prints a line after this time."""


class Watch(Observer):
    """Prints a run: on a terminal a bar with rate and time left, elsewhere a line from time to time."""

    def __init__(self, console: Console, num_stages: int) -> None:
        self.console = console
        self.num_stages = num_stages
        self.num_seen = 0
        self.num_skipped = 0
        self.began_s = self.printed_s = time.monotonic()
        self.first: tuple[float, int] | None = None
        self.bar: TaskID | None = None
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[status]}", markup=False),
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
            self._print(f"{made} stages run, {self.num_skipped} were already done, in {spent}")

    def stage_started(self, stage: Stage, folder: Path, resuming: bool) -> None:
        """Add a bar for the stage."""
        del folder
        self.first, self.printed_s = None, time.monotonic()
        status = "resuming from a checkpoint" if resuming else ""
        self.bar = self.bars.add_task(f"{self._place(1)} {stage.id}", total=None, status=status)
        if resuming:
            self._print(f"{self._place(1)} {stage.id}: resuming from its last checkpoint")

    def progress(self, stage: Stage, done: int, total: int, unit: str, values: dict[str, Any]) -> None:
        """Move the bar."""
        now_s = time.monotonic()
        if self.first is None or done < self.first[1]:
            self.first = (now_s, done)
        spent_s, moved = now_s - self.first[0], done - self.first[1]
        rate = f"{format_short(moved / spent_s)} {unit}/s" if spent_s > 0.5 and moved else ""
        shown = "  ".join(f"{name} {value:.3g}" for name, value in values.items() if not math.isnan(value))
        status = "  ".join(
            part for part in (f"{format_short(done)}/{format_short(total)} {unit}", rate, shown) if part
        )
        if self.bar is not None:
            self.bars.update(self.bar, completed=done, total=total, status=status)
        if not self.console.is_terminal and now_s - self.printed_s > _QUIET_S:
            self.printed_s = now_s
            self._print(f"{self._place(1)} {stage.id}: {status}")

    def stage_finished(self, stage: Stage, folder: Path, written: Manifest) -> None:
        """Print the time that the stage took."""
        del folder
        self._close()
        self.num_seen += 1
        self._print(
            f"{self._place()} {stage.id}: done in {format_duration(written.wall_s)}{_format_figures(written)}"
        )
        for warning in _list_warnings(written):
            self._print(warning)

    def stage_skipped(self, stage: Stage, folder: Path, written: Manifest) -> None:
        """Count the stage."""
        del stage, folder, written
        self.num_seen += 1
        self.num_skipped += 1

    def waiting(self, stage: Stage, holder: str) -> None:
        """Print the holder of the lock."""
        self._print(f"{self._place(1)} {stage.id}: waiting for {holder}, which is running it")

    def remark(self, stage: Stage, line: str) -> None:
        """Print what was found damaged and passed over."""
        self._print(f"{self._place(1)} {stage.id}: {line}")

    def _place(self, ahead: int = 0) -> str:
        return f"[{self.num_seen + ahead}/{self.num_stages}]"

    def _close(self) -> None:
        if self.bar is not None:
            self.bars.remove_task(self.bar)
            self.bar = None

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True)


def _list_warnings(written: Manifest) -> Iterator[str]:
    """Return a line for each note on the labelled data of a stage, and for each part that was unreadable."""
    facts = read_facts(written, BaseModel) if written.kind in KINDS else None
    if isinstance(facts, TasksFacts):
        yield from (f"  {task}: {note}" for task, one in facts.root.items() for note in one.notes)
    if isinstance(facts, FetchFacts):
        yield from (f"  warning: {note}" for note in facts.tokenizer_notes)
    if isinstance(facts, CorporaFacts):
        for one in facts.root.values():
            for part, reason in one.unread_tasks.items():
                yield f"  warning: the texts of {part} are not kept out of the corpus: {reason}"


def _format_figures(written: Manifest) -> str:
    """Print the main figures of a finished stage: its size, its loss and its scores."""
    facts = read_facts(written, BaseModel) if written.kind in KINDS else None
    figures = []
    if isinstance(facts, SizeFacts) and facts.parameters:
        figures.append(f"{format_short(sum(facts.parameters.values()))} parameters")
    if isinstance(facts, StepFacts):
        figures.append(f"held-out loss {facts.held_out.loss:.3f}")
    if isinstance(facts, ScoringFacts):
        figures += [f"{name} {100 * one.mean:.1f} %" for name, one in facts.scores.metrics.items()]
    return f" ({', '.join(figures)})" if figures else ""


def print_plan(name: str, plan: Plan, store: Store) -> None:
    """Print the stages of a plan and their states."""
    table = Table("", "stage", "kind", "state", "key", title=name, title_justify="left")
    for number, row in enumerate(status(plan, store), start=1):
        table.add_row(str(number), row.stage.id, row.stage.kind, row.state, row.key)
    print_table(table, keys=2)


def print_recipe(recipe: Recipe, rows: Sequence[RecipeRow]) -> None:
    """Print a recipe's steps with the parameters after each."""
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
    print_table(table)
    if recipe.source_language:
        out.print(f"source language: {recipe.source_language}", markup=False)
    for note in recipe.notes:
        out.print(f"note: {note}", markup=False)
    if recipe.variants:
        out.print(f"variants: {', '.join(f'{recipe.name}@{one}' for one in recipe.variants)}", markup=False)
