"""Run the stages of a plan that are missing and skip the others: an interrupted run resumes where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from harness.errors import unknown
from harness.pipeline import manifest
from harness.pipeline.checkpoints import CannotResumeError
from harness.pipeline.faults import explain_disk_faults
from harness.pipeline.folders import is_folder, remove
from harness.pipeline.manifest import Environment, Input, Manifest
from harness.pipeline.memory import read_peak_bytes, reset_peak
from harness.pipeline.mirror import DamagedError
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.process_group import ALONE, ProcessGroup
from harness.pipeline.store import (
    CHECKPOINTS,
    FETCHED,
    Store,
    has_checkpoints,
    open_partial,
    publish,
    seal,
    write_manifest,
)

_Step = TypeVar("_Step")


@dataclass(frozen=True)
class Context:
    """The folders, settings and callbacks of a stage, as its runner receives them.

    Attributes:
        out: the folder to write into; empty but for `checkpoints`.
        config: the stage's config and its means.
        inputs: by role, the folder of an earlier stage, or the file or folder from outside.
        facts: filled by the runner, for the manifest; JSON types.
        progress: called by the runner with done, total, unit and further values to show.
        resuming: whether an interrupted attempt left checkpoints to resume from.
        checkpoint_s: seconds between checkpoints; None leaves them to the runner.
        step: the typed object that the config was written from, where there is one; see `get_step`.
        trackers: names of the trackers that follow a training.
        group: the processes that run the stage together; see `leave_to_main`.
    """

    out: Path
    config: dict[str, Any]
    inputs: dict[str, Path]
    facts: dict[str, Any]
    progress: Callable[[int, int, str, dict[str, Any]], None]
    resuming: bool
    checkpoint_s: float | None = None
    step: object = None
    trackers: tuple[str, ...] = ()
    group: ProcessGroup = ALONE

    def leave_to_main(self) -> None:
        """End the stage here in every process but the main one, which writes what the stage leaves."""
        if self.group.rank:
            raise _LeftToMain

    def get_step(self, schema: type[_Step]) -> _Step:
        """Return the typed object that the config was written from.

        Raises:
            TypeError: the plan gave this stage an object of another type.
        """
        if not isinstance(self.step, schema):
            raise TypeError(f"expected the step as {schema.__name__}; got {type(self.step).__name__}")
        return self.step

    @property
    def checkpoints(self) -> Path:
        """The folder of what a later attempt can resume from; removed when the stage is finished."""
        return self.out / CHECKPOINTS


class _LeftToMain(Exception):  # noqa: N818  no error
    """A process has done its part of a stage."""


Runner = Callable[[Context], None]


class Observer:
    """Receives the events of a run and ignores them; the base of observers that print them."""

    def stage_started(self, stage: Stage, folder: Path, resuming: bool) -> None:
        """Receive that a stage starts; `folder` is its final place."""

    def progress(self, stage: Stage, done: int, total: int, unit: str, values: dict[str, Any]) -> None:
        """Receive how much of a stage is done."""

    def stage_finished(self, stage: Stage, folder: Path, written: Manifest) -> None:
        """Receive that a stage was run and is in its place."""

    def stage_skipped(self, stage: Stage, folder: Path, written: Manifest) -> None:
        """Receive that a stage was already there, with every byte as it was written."""

    def waiting(self, stage: Stage, holder: str) -> None:
        """Receive that another process is running the stage."""

    def remark(self, stage: Stage, line: str) -> None:
        """Receive what was found damaged and passed over."""


@dataclass(frozen=True)
class Finished:
    """A stage in its place, with its manifest."""

    folder: Path
    manifest: Manifest


def execute(
    plan: Plan,
    store: Store,
    folder: str,
    runners: Mapping[str, Runner],
    *,
    observer: Observer,
    environment: Callable[[], Environment],
    selected: Callable[[Stage], bool] = lambda _: True,
    checkpoint_s: float | None = None,
    trackers: tuple[str, ...] = (),
    workers: int = 1,
    prepare: Callable[[int], None] | None = None,
    group: ProcessGroup = ALONE,
    joined: Callable[[Stage], bool] = lambda _: False,
) -> dict[str, Finished]:
    """Run the selected stages of a plan that are missing, broken or out of date; return all selected stages.

    Invariants: a stage is skipped iff its manifest can be read, every output hashes to what was written, and
    the recorded digests of its inputs equal the current ones. A kill, a full disk or Ctrl-C at any point
    loses no finished stage and no checkpoint. Two processes at once run each stage once. Of a group of
    processes the main one runs all stages, and the others take part in those that are joined.

    Args:
        plan: the stages, in order.
        store: the runs folder.
        folder: this run's folder in it, as ``mt/gurgurov2025-mini``.
        runners: by kind, the function that runs a stage.
        observer: receives the events.
        environment: called once for each stage that is run, for the machine in its manifest.
        selected: the stages to run; a selected stage's inputs must be selected too.
        checkpoint_s: seconds between the checkpoints of a training; None leaves them to the runners.
        trackers: names of the trackers that follow each training.
        workers: processes that run stages. With one, this process runs them in the plan's order; with more,
            independent stages run at the same time, and the runners must be importable functions.
        prepare: called first in each worker process, with its number.
        group: the processes that run this plan together, on one runs folder.
        joined: the stages that all processes of the group run.

    Raises:
        HarnessError: an input is missing, the disk is full, the runs folder cannot be written, or what a
            runner raises.
    """
    for stage in plan:
        if stage.kind not in runners:
            raise unknown("kind of stage", stage.kind, runners)
    if store.mirror and not group.rank:
        store.mirror.check()
    if workers > 1:
        from harness.pipeline.parallel import StageCall, execute_in_workers  # noqa: PLC0415 - it runs StageWork

        call = StageCall(plan, store, folder, dict(runners), environment, checkpoint_s, trackers)
        return execute_in_workers(call, workers, prepare, observer=observer, selected=selected)
    finished: dict[str, Finished] = {}
    if group.rank:
        observer = Observer()  # the main process reports
    for number, stage in enumerate(plan, start=1):
        if not selected(stage):
            continue
        work = StageWork(plan, store, stage, finished, observer, checkpoint_s, trackers, group, joined(stage))
        with explain_disk_faults(stage.id, store.root):
            if group.rank:
                finished[stage.id] = work.follow(runners[stage.kind])
                continue
            finished[stage.id] = work.find_done() or work.run_locked(
                f"{number:02d}-{stage.id}", folder, runners[stage.kind], environment
            )
            work.announce(_Order(finished[stage.id].folder, finished=True))
    return finished


@dataclass(frozen=True)
class _Order:
    """What the main process sends to the others about a stage.

    Attributes:
        folder: of the stage.
        finished: whether the stage is finished; otherwise all run it.
        resuming: whether there are checkpoints to resume from.
    """

    folder: Path
    finished: bool = False
    resuming: bool = False


def _receive() -> _Order:
    raise TypeError("only the main process has orders")


@dataclass(frozen=True)
class StageWork:
    """One stage to be skipped or run."""

    plan: Plan
    store: Store
    stage: Stage
    finished: Mapping[str, Finished]
    observer: Observer
    checkpoint_s: float | None
    trackers: tuple[str, ...]
    group: ProcessGroup = ALONE
    joined: bool = False

    @property
    def key(self) -> str:
        """The stage's key."""
        return self.plan.keys[self.stage.id]

    def read_inputs(self) -> dict[str, Input]:
        """Return the current inputs with their digests."""
        inputs = {}
        for role, source in self.stage.inputs.items():
            if isinstance(source, Path):
                inputs[role] = Input(path=str(source), digest=self.plan.external[source])
            else:
                content = self.finished[source].manifest.outputs_digest
                inputs[role] = Input(key=self.plan.keys[source], digest=content)
        return inputs

    def find_done(self) -> Finished | None:
        """Return the stage if it is complete and was made from the current inputs."""
        folder = self.store.find(self.key)
        done = folder and self.read(folder)
        if done:
            self.set_unlisted_aside(done)
            self.deliver(done)
            self.observer.stage_skipped(self.stage, done.folder, done.manifest)
        return done or None

    def fetch(self, final: Path) -> tuple[Finished | None, bool]:
        """Fetch the stage from the mirror into its place; return it, and whether the mirror's is damaged.

        A stage of the mirror that was made from other inputs than the current ones is left there.
        """
        if self.store.mirror is None:
            return None, False
        folder = final.with_name(FETCHED + final.name)
        try:
            written = self.store.mirror.fetch(self.key, folder)
        except DamagedError as error:
            self.observer.remark(self.stage, f"{error}: the stage is run here, and replaced there")
            return None, True
        if written is None or not self.read(folder):
            remove(folder)
            return None, False
        publish(folder, final)
        done = Finished(final, written)
        self.observer.stage_skipped(self.stage, final, written)
        return done, False

    def deliver(self, done: Finished, *, replace: bool = False) -> None:
        """Upload a finished stage to the mirror, unless the mirror has it."""
        if self.store.mirror is not None:
            self.store.mirror.deliver(done.folder, done.manifest, replace=replace)

    def set_unlisted_aside(self, done: Finished) -> None:
        """Move what was added to a finished stage out of its folder, so that no later stage reads it."""
        for name in manifest.list_unlisted(done.folder, done.manifest):
            place = self.store.set_aside(done.folder, name)
            self.observer.remark(self.stage, f"{name} is not in the manifest: it was moved to {place}")

    def read(self, folder: Path) -> Finished | None:
        """Return a stage's folder if it is complete and was made from the current inputs."""
        if not is_folder(folder):
            return None
        try:
            written = manifest.read(folder)
        except ValueError:
            return None
        digests = {role: one.digest for role, one in written.inputs.items()}
        current = digests == {role: one.digest for role, one in self.read_inputs().items()}
        whole = current and written.key == self.key and not manifest.find_problems(folder, written)
        return Finished(folder, written) if whole else None

    def run_locked(
        self, name: str, folder: str, runner: Runner, environment: Callable[[], Environment]
    ) -> Finished:
        """Run the stage, or wait for the process that runs it."""
        with self.store.lock(self.key, lambda holder: self.observer.waiting(self.stage, holder)):
            done = self.find_done()
            if done:
                return done
            partial, final = self.store.place(folder, name, self.key)
            fetched, damaged = self.fetch(final)
            if fetched:
                remove(partial)
                return fetched
            if not self.read(partial):
                self.run(partial, final, runner, environment)
            publish(partial, final)
            finished = Finished(final, manifest.read(final))
            self.deliver(finished, replace=damaged)
        self.observer.stage_finished(self.stage, final, finished.manifest)
        return finished

    def run(self, partial: Path, final: Path, runner: Runner, environment: Callable[[], Environment]) -> None:
        """Call the runner in the partial folder, and hash and flush its outputs."""
        passed_over, resuming = open_partial(partial), has_checkpoints(partial)
        for line in passed_over:
            self.observer.remark(self.stage, line)
        self.observer.stage_started(self.stage, final, resuming)
        context = self.make_context(partial, resuming=resuming)
        started_at, began_s, was_reset = datetime.now(UTC), time.monotonic(), reset_peak()
        try:
            self.announce_run(context)
            runner(context)
        except CannotResumeError as error:
            self.observer.remark(self.stage, f"{error}: the stage begins again")
            remove(context.checkpoints)
            open_partial(partial)
            context = replace(context, resuming=False, facts={})
            self.announce_run(context)
            runner(context)
        measured = {
            "started_at": started_at.isoformat(timespec="seconds"),
            "wall_s": round(time.monotonic() - began_s, 3),
            "peak_memory_bytes": read_peak_bytes() if was_reset else None,
        }
        write_manifest(partial, self.describe(context, environment(), measured))

    def make_context(self, partial: Path, *, resuming: bool) -> Context:
        """Return what the runner receives."""
        return Context(
            out=partial,
            config=self.stage.settings,
            inputs={role: self.locate(source) for role, source in self.stage.inputs.items()},
            facts={},
            progress=lambda *values: self.observer.progress(self.stage, *values),
            resuming=resuming,
            checkpoint_s=self.checkpoint_s,
            step=self.stage.step,
            trackers=self.trackers,
            group=self.group if self.joined else ALONE,
        )

    def announce(self, order: _Order) -> None:
        """Send the other processes an order, which they receive in `follow`."""
        self.group.share(lambda: order)

    def announce_run(self, context: Context) -> None:
        """Let the other processes run a joined stage."""
        if self.joined:
            self.announce(_Order(context.out, resuming=context.resuming))

    def follow(self, runner: Runner) -> Finished:
        """Take part in the stage as the main process orders, until it is finished."""
        while True:
            order: _Order = self.group.share(_receive)
            if order.finished:
                return Finished(order.folder, manifest.read(order.folder))
            with suppress(_LeftToMain, CannotResumeError):  # all fail to resume together, and begin again
                runner(self.make_context(order.folder, resuming=order.resuming))

    def locate(self, source: str | Path) -> Path:
        """Return the folder of an earlier stage, or a path from outside as it is."""
        return source if isinstance(source, Path) else self.finished[source].folder

    def describe(self, context: Context, machine: Environment, measured: dict[str, Any]) -> Manifest:
        """Return the manifest of the files that the runner has written."""
        return Manifest(
            **machine.model_dump(),
            **measured,
            stage=self.stage.id,
            kind=self.stage.kind,
            version=self.stage.version,
            key=self.key,
            config=self.stage.settings,
            inputs=self.read_inputs(),
            outputs=seal(context.out),
            seed=self.stage.config.get("seed"),
            resumed=context.resuming,
            facts=context.facts,
        )
