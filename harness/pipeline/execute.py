"""Makes what a plan lacks and skips what is there, so that a run cut at any point goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from harness.errors import unknown
from harness.pipeline import manifest
from harness.pipeline.faults import explained
from harness.pipeline.manifest import Environment, Input, Manifest
from harness.pipeline.memory import read_peak_bytes, reset_peak
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.store import CHECKPOINTS, Store, open_partial, publish, seal, write_manifest

_Step = TypeVar("_Step")


@dataclass(frozen=True)
class Context:
    """What a runner is given.

    Attributes:
        out: the folder to write into; empty but for `checkpoints`.
        config: the stage's config, and the means by which it is to be made.
        inputs: by role, the folder of an earlier stage, or the file or folder from outside.
        facts: to be filled with what the manifest shall tell of the work; JSON types.
        progress: to be called with done, total, unit and further values to show.
        resuming: a killed attempt left checkpoints to go on from.
        step: the typed object that the config was written from, where there is one; see `get_step`.
    """

    out: Path
    config: dict[str, Any]
    inputs: dict[str, Path]
    facts: dict[str, Any]
    progress: Callable[[int, int, str, dict[str, Any]], None]
    resuming: bool
    step: object = None

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
        """Where a runner keeps what a later attempt can go on from; dropped when the stage is finished."""
        return self.out / CHECKPOINTS


Runner = Callable[[Context], None]


class Observer:
    """Told what happens; this one keeps silent, and is the base of those that speak."""

    def stage_started(self, stage: Stage, folder: Path, resuming: bool) -> None:
        """A stage is about to be made; `folder` is where it will end up."""

    def progress(self, stage: Stage, done: int, total: int, unit: str, values: dict[str, Any]) -> None:
        """A stage has come so far."""

    def stage_finished(self, stage: Stage, folder: Path, written: Manifest) -> None:
        """A stage was made and is in its place."""

    def stage_skipped(self, stage: Stage, folder: Path, written: Manifest) -> None:
        """A stage was there, and every byte of it is as it was written."""

    def waiting(self, stage: Stage, holder: str) -> None:
        """Another process is making the stage."""


@dataclass(frozen=True)
class Finished:
    """A stage in its place, and what it says of itself."""

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
    wanted: Callable[[Stage], bool] = lambda _: True,
) -> dict[str, Finished]:
    """Gives every wanted stage of a plan, finished; makes those that are missing, broken or out of date.

    What holds: a stage is skipped iff its manifest reads, every output hashes to what was written, and the
    digests of its inputs are those of the inputs now. A kill, a full disk or Ctrl-C at any point loses no
    finished stage and no checkpoint. Two processes at once make each stage once.

    Args:
        plan: the stages, in order.
        store: the runs folder.
        folder: this run's folder in it, as ``mt/gurgurov2025-mini``.
        runners: by kind, what makes a stage.
        observer: told what happens.
        environment: asked, once for each stage that is made, what the manifest shall say of the machine.
        wanted: which stages to look at; with a stage those it reads must be wanted.

    Raises:
        HarnessError: an input is missing, the disk is full, the runs folder cannot be written, or what a
            runner raises.
    """
    finished: dict[str, Finished] = {}
    for stage in plan:
        if stage.kind not in runners:
            raise unknown("kind of stage", stage.kind, runners)
    for number, stage in enumerate(plan, start=1):
        if not wanted(stage):
            continue
        work = _Work(plan, store, stage, finished, observer)
        with explained(stage.id, store.root):
            finished[stage.id] = work.find_done() or work.make(
                f"{number:02d}-{stage.id}", folder, runners[stage.kind], environment
            )
    return finished


@dataclass(frozen=True)
class _Work:
    """One stage to be found or made."""

    plan: Plan
    store: Store
    stage: Stage
    finished: Mapping[str, Finished]
    observer: Observer

    @property
    def key(self) -> str:
        return self.plan.keys[self.stage.id]

    def inputs(self) -> dict[str, Input]:
        """Gives what the inputs are now."""
        inputs = {}
        for role, source in self.stage.inputs.items():
            if isinstance(source, Path):
                inputs[role] = Input(path=str(source), digest=self.plan.external[source])
            else:
                content = self.finished[source].manifest.outputs_digest
                inputs[role] = Input(key=self.plan.keys[source], digest=content)
        return inputs

    def find_done(self) -> Finished | None:
        """Gives the stage if it is there, whole, and made of the inputs as they are now."""
        folder = self.store.find(self.key)
        done = folder and self.read(folder)
        if done:
            self.observer.stage_skipped(self.stage, done.folder, done.manifest)
        return done or None

    def read(self, folder: Path) -> Finished | None:
        """Gives a stage's folder if it is whole and of the inputs as they are now."""
        try:
            written = manifest.read(folder)
        except ValueError:
            return None
        digests = {role: one.digest for role, one in written.inputs.items()}
        current = digests == {role: one.digest for role, one in self.inputs().items()}
        whole = current and written.key == self.key and not manifest.find_problems(folder, written)
        return Finished(folder, written) if whole else None

    def make(
        self, name: str, folder: str, runner: Runner, environment: Callable[[], Environment]
    ) -> Finished:
        """Makes the stage, or waits for the process that makes it."""
        with self.store.lock(self.key, lambda holder: self.observer.waiting(self.stage, holder)):
            done = self.find_done()
            if done:
                return done
            partial, final = self.store.place(folder, name, self.key)
            if not self.read(partial):
                self.run(partial, final, runner, environment)
            publish(partial, final)
        written = manifest.read(final)
        self.observer.stage_finished(self.stage, final, written)
        return Finished(final, written)

    def run(self, partial: Path, final: Path, runner: Runner, environment: Callable[[], Environment]) -> None:
        """Runs the runner in the partial folder and seals what it wrote."""
        resuming = open_partial(partial)
        self.observer.stage_started(self.stage, final, resuming)
        context = Context(
            out=partial,
            config=self.stage.settings,
            inputs={role: self.locate(source) for role, source in self.stage.inputs.items()},
            facts={},
            progress=lambda *told: self.observer.progress(self.stage, *told),
            resuming=resuming,
            step=self.stage.step,
        )
        started_at, began_s, told = datetime.now(UTC), time.monotonic(), reset_peak()
        runner(context)
        measured = {
            "started_at": started_at.isoformat(timespec="seconds"),
            "wall_s": round(time.monotonic() - began_s, 3),
            "peak_memory_bytes": read_peak_bytes() if told else None,
        }
        write_manifest(partial, self.describe(context, environment(), measured))

    def locate(self, source: str | Path) -> Path:
        return source if isinstance(source, Path) else self.finished[source].folder

    def describe(self, context: Context, machine: Environment, measured: dict[str, Any]) -> Manifest:
        """Gives the manifest of what the runner has written."""
        return Manifest(
            **machine.model_dump(),
            **measured,
            stage=self.stage.id,
            kind=self.stage.kind,
            version=self.stage.version,
            key=self.key,
            config=self.stage.settings,
            inputs=self.inputs(),
            outputs=seal(context.out),
            seed=self.stage.config.get("seed"),
            resumed=context.resuming,
            facts=context.facts,
        )
