"""Print the progress of a run: a line for each stage, and a bar for the running stage."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from harness.cli.app import out, print_json, print_table
from harness.config.recipe import Recipe
from harness.config.show import RecipeRow
from harness.pipeline.execute import Observer
from harness.pipeline.manifest import Manifest
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.status import StageStatus, status
from harness.pipeline.store import Store
from harness.plans.estimate import PlanEstimate, estimate_plan
from harness.stages.io.facts import CorporaFacts, FetchFacts, ScoringFacts, SizeFacts, StepFacts, TasksFacts
from harness.stages.table import KINDS, read_facts
from harness.units import format_bytes, format_count, format_duration, format_short

_WIDE, _NARROWEST, _OTHERS = 100, 16, 54
"""Columns of a terminal with long bars, of the shortest status, and of a stage's name, bar and time left."""
_RATE_S, _MARK_S = 60.0, 0.5
"""The time that a rate is measured over, and the least time between two marks."""
_QUIET_S = 30.0
"""Without a terminal, a running stage prints a line after this time."""


@dataclass
class _RunningStage:
    """A stage that runs: its bar, when a line of it was printed, and how much was done and when, lately."""

    bar: TaskID
    printed_s: float
    marks: deque[tuple[float, int]] = field(default_factory=deque)

    def measure_rate(self, now_s: float, done: int) -> float | None:
        """Return how much was done a second in the last minute; None before anything was."""
        if self.marks and done < self.marks[-1][1]:
            self.marks.clear()
        if not self.marks or now_s - self.marks[-1][0] > _MARK_S:
            self.marks.append((now_s, done))
        while len(self.marks) > 2 and now_s - self.marks[1][0] > _RATE_S:
            self.marks.popleft()
        spent_s, moved = now_s - self.marks[0][0], done - self.marks[0][1]
        return moved / spent_s if spent_s > _MARK_S and moved else None


class Watch(Observer):
    """Prints a run: on a terminal bars with rate and time left, elsewhere a line from time to time."""

    def __init__(
        self,
        console: Console,
        num_stages: int,
        stage_seconds: Mapping[str, float] | None = None,
        log: Path | None = None,
        num_workers: int = 1,
    ) -> None:
        """Prepare to print.

        Args:
            console: to print on.
            num_stages: of the run.
            stage_seconds: about how long each missing stage takes, by id, for the time left of the whole run.
            log: a file to which each line is added, with its time; None: no file.
            num_workers: stages that may run at the same time.
        """
        self.num_workers = num_workers
        self.log = log
        self.left_s = dict(stage_seconds or {})
        self.spent_s, self.expected_s = 0.0, 0.0
        self.console = console
        self.num_stages = num_stages
        self.num_seen = 0
        self.num_skipped = 0
        self.began_s = time.monotonic()
        self.running: dict[str, _RunningStage] = {}
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24 if console.width >= _WIDE else 4),
            TextColumn(
                "{task.fields[status]}",
                markup=False,
                table_column=Column(no_wrap=True, max_width=max(_NARROWEST, console.width - _OTHERS)),
            ),
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
        status = "resuming from a checkpoint" if resuming else ""
        bar = self.bars.add_task("", total=None, status=status)
        self.running[stage.id] = _RunningStage(bar, time.monotonic())
        self.bars.update(bar, description=f"{self._place(stage)} {stage.id}")
        if resuming:
            self._print(f"{self._place(stage)} {stage.id}: resuming from its last checkpoint")

    def progress(self, stage: Stage, done: int, total: int, unit: str, values: dict[str, Any]) -> None:
        """Move the stage's bar."""
        now_s, running = time.monotonic(), self.running[stage.id]
        pace = running.measure_rate(now_s, done)
        rate = "" if pace is None else f"{format_short(pace)} {unit}/s"
        shown = "  ".join(f"{name} {value:.3g}" for name, value in values.items() if not math.isnan(value))
        status = "  ".join(
            part for part in (f"{format_short(done)}/{format_short(total)} {unit}", rate, shown) if part
        )
        self.bars.update(running.bar, completed=done, total=total, status=status)
        if not self.console.is_terminal and now_s - running.printed_s > _QUIET_S:
            running.printed_s = now_s
            self._print(f"{self._place(stage)} {stage.id}: {status}")

    def stage_finished(self, stage: Stage, folder: Path, written: Manifest) -> None:
        """Print the time that the stage took."""
        del folder
        if (running := self.running.pop(stage.id, None)) is not None:
            self.bars.remove_task(running.bar)
        self.num_seen += 1
        self.expected_s += self.left_s.pop(stage.id, 0.0)
        self.spent_s += written.wall_s
        self._print(
            f"[{self.num_seen}/{self.num_stages}] {stage.id}: done in {format_duration(written.wall_s)}"
            f"{_format_figures(written)}{self._format_left()}"
        )
        for warning in _list_warnings(written):
            self._print(warning)

    def stage_skipped(self, stage: Stage, folder: Path, written: Manifest) -> None:
        """Count the stage."""
        del folder, written
        self.left_s.pop(stage.id, None)
        self.num_seen += 1
        self.num_skipped += 1

    def waiting(self, stage: Stage, holder: str) -> None:
        """Print the holder of the lock."""
        self._print(f"{self._place(stage)} {stage.id}: waiting for {holder}, which is running it")

    def remark(self, stage: Stage, line: str) -> None:
        """Print what was found damaged and passed over."""
        self._print(f"{self._place(stage)} {stage.id}: {line}")

    def _place(self, stage: Stage) -> str:
        """Return which stage of the run a stage is that runs or begins to, after those that run before it."""
        before = list(self.running).index(stage.id) if stage.id in self.running else len(self.running)
        return f"[{self.num_seen + before + 1}/{self.num_stages}]"

    def _format_left(self) -> str:
        """Print the time left of the run: the estimate, corrected by the stages that are finished."""
        pace = self.spent_s / self.expected_s if self.expected_s > _QUIET_S else 1.0
        left_s = pace * sum(self.left_s.values()) / self.num_workers
        return f"; about {format_duration(60 * max(1, round(left_s / 60)))} left" if left_s > _QUIET_S else ""

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True)
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {line}\n")


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


def print_plan(name: str, plan: Plan, store: Store, *, form: str = "table") -> None:
    """Print the stages of a plan, their states, and what the missing ones need, as table, json or tsv."""
    rows = status(plan, store)
    if form == "tsv":
        for row in rows:
            typer.echo("	".join((row.stage.id, row.stage.kind, row.state, row.key)))
        return
    estimate = estimate_plan(plan, rows, store)
    if form == "json":
        print_json(
            {
                "run": name,
                "stages": [
                    {
                        "id": row.stage.id,
                        "kind": row.stage.kind,
                        "state": row.state,
                        "key": row.key,
                        "folder": None if row.folder is None else str(row.folder),
                    }
                    for row in rows
                ],
                "estimate": estimate.as_dict(),
            }
        )
        return
    print_table(_tabulate_stages(name, rows), keys=2)
    for line in _describe_estimate(estimate):
        out.print(line, soft_wrap=True, markup=False)


def _tabulate_stages(name: str, rows: Sequence[StageStatus]) -> Table:
    table = Table("", "stage", "kind", "state", "key", title=name, title_justify="left")
    for number, row in enumerate(rows, start=1):
        table.add_row(str(number), row.stage.id, row.stage.kind, row.state, row.key)
    return table


def _describe_estimate(estimate: PlanEstimate) -> Iterator[str]:
    """Return what the missing stages need, in lines."""
    if not estimate.num_stages:
        yield "all stages are done"
        return
    half, double = (format_duration(max(1.0, estimate.seconds * factor)) for factor in (0.5, 2))
    source = (
        f"the speed of {estimate.num_timed} finished stages here"
        if estimate.num_timed
        else "this processor's speed on a matrix product"
    )
    yield f"to do:  {estimate.num_stages} stages"
    yield f"time:   about {format_duration(estimate.seconds)} ({half} to {double}), from {source}"
    disk, free = format_bytes(estimate.disk_bytes), format_bytes(estimate.disk_free_bytes)
    yield f"disk:   about {disk}; {free} are free"
    total = estimate.memory_total_bytes
    has = "" if total is None else f"; this machine has {format_bytes(total)}"
    yield f"memory: about {format_bytes(estimate.memory_bytes)}{has}"
    if estimate.disk_bytes > estimate.disk_free_bytes:
        yield "warning: the disk is too small; name another by --runs"
    if total is not None and estimate.memory_bytes > total:
        yield "warning: the memory is too small; lower device_tokens in the scale"


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
    if recipe.task_language:
        out.print(f"tasks are learned in: {recipe.task_language}", markup=False)
    for note in recipe.notes:
        out.print(f"note: {note}", markup=False, soft_wrap=True)
    if recipe.variants:
        out.print(f"variants: {', '.join(f'{recipe.name}@{one}' for one in recipe.variants)}", markup=False)
