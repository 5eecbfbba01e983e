"""Run independent stages of a plan in worker processes at the same time, each after its inputs."""

# ruff: noqa: ARG002 - the events of a worker's observer are about the stage that its parent has started
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import first_line
from harness.pipeline.execute import Finished, Observer, Runner, StageWork
from harness.pipeline.faults import explain_disk_faults
from harness.pipeline.manifest import Environment, Manifest
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.store import Store
from harness.pipeline.workers import Message, Send, Workers

_SHOWN_S = 0.1
"""How often a worker reports progress."""


@dataclass(frozen=True)
class StageCall:
    """Runs a stage in a worker process, as `harness.pipeline.execute.execute` does in its own."""

    plan: Plan
    store: Store
    folder: str
    runners: Mapping[str, Runner]
    environment: Callable[[], Environment]
    checkpoint_s: float | None
    trackers: tuple[str, ...]

    def __call__(self, argument: tuple[int, dict[str, Finished]], send: Send) -> Finished:
        """Run the stage with a place in the plan, and its finished inputs."""
        place, finished = argument
        stage = self.plan.stages[place]
        with explain_disk_faults(stage.id, self.store.root):
            return self.prepare(stage, finished, _Relay(send)).run_locked(
                f"{place + 1:02d}-{stage.id}", self.folder, self.runners[stage.kind], self.environment
            )

    def prepare(self, stage: Stage, finished: Mapping[str, Finished], observer: Observer) -> StageWork:
        """Return a stage to be skipped or run."""
        return StageWork(self.plan, self.store, stage, finished, observer, self.checkpoint_s, self.trackers)


class _Event(NamedTuple):
    """A method of an observer, and its arguments after the stage."""

    method: str
    arguments: tuple[Any, ...]


class _Relay(Observer):
    """Sends the events of a stage to the parent process."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.sent_s = 0.0

    def stage_started(self, stage: Stage, folder: Path, resuming: bool) -> None:
        """Send that the stage starts."""
        self.send(_Event("stage_started", (folder, resuming)))

    def progress(self, stage: Stage, done: int, total: int, unit: str, values: dict[str, Any]) -> None:
        """Send how much of the stage is done, not more often than can be read."""
        now_s = time.monotonic()
        if done == total or now_s - self.sent_s >= _SHOWN_S:
            self.sent_s = now_s
            self.send(_Event("progress", (done, total, unit, values)))

    def stage_finished(self, stage: Stage, folder: Path, written: Manifest) -> None:
        """Send that the stage was run."""
        self.send(_Event("stage_finished", (folder, written)))

    def stage_skipped(self, stage: Stage, folder: Path, written: Manifest) -> None:
        """Send that another process has run the stage in the meantime."""
        self.send(_Event("stage_skipped", (folder, written)))

    def waiting(self, stage: Stage, holder: str) -> None:
        """Send which process is running the stage."""
        self.send(_Event("waiting", (holder,)))

    def remark(self, stage: Stage, line: str) -> None:
        """Send what was passed over."""
        self.send(_Event("remark", (line,)))


def execute_in_workers(
    call: StageCall,
    number: int,
    prepare: Callable[[int], None] | None,
    *,
    observer: Observer,
    selected: Callable[[Stage], bool],
) -> dict[str, Finished]:
    """Run the selected stages that are missing in worker processes; return all selected stages in order.

    Invariants: those of `harness.pipeline.execute.execute`. A stage that measures time runs while no other
    stage of this run does. When a stage fails, the stages that run are finished, no other is started, and
    the first error is raised.
    """
    call.plan.keys  # noqa: B018 - computed once here, and not in each worker
    stages = sum(map(selected, call.plan))
    with Workers(max(1, min(number, stages)), call, prepare) as workers:
        return _Schedule(call, workers, observer, selected).run()


class _Schedule:
    """The stages of a plan that are finished, that run, and that could run."""

    def __init__(
        self, call: StageCall, workers: Workers, observer: Observer, selected: Callable[[Stage], bool]
    ) -> None:
        self.call, self.workers, self.observer = call, workers, observer
        chosen = [stage for stage in call.plan if selected(stage)]
        self.stages = {stage.id: stage for stage in chosen}
        self.places = {stage.id: place for place, stage in enumerate(call.plan)}
        self.order = TopologicalSorter({stage.id: _list_earlier(stage) for stage in chosen})
        self.order.prepare()
        self.ready: list[str] = []
        self.finished: dict[str, Finished] = {}
        self.failure: Exception | None = None

    def run(self) -> dict[str, Finished]:
        """Run all stages; raise the first error when no stage runs any more."""
        while (self.failure is None and self.order.is_active()) or self.workers.running:
            if self.failure is None:
                self._skip_done()
                self._start_ready()
            if self.workers.running:
                for message in self.workers.wait():
                    self._receive(message)
        if self.failure is not None:
            raise self.failure
        return {name: self.finished[name] for name in self.stages}

    def _skip_done(self) -> None:
        """Skip stages that are done, and those after them, until each stage that is ready has to be run."""
        while names := self.order.get_ready():
            for name in sorted(names, key=self.places.__getitem__):
                stage = self.stages[name]
                with explain_disk_faults(name, self.call.store.root):
                    done = self.call.prepare(stage, self.finished, self.observer).find_done()
                if done is None:
                    self.ready.append(name)
                else:
                    self._finish(name, done)
        self.ready.sort(key=self.places.__getitem__)

    def _start_ready(self) -> None:
        """Start stages in the plan's order while workers are idle; those that measure time last."""
        together = [name for name in self.ready if not self.stages[name].alone]
        if any(self.stages[name].alone for name in self.workers.running):
            return
        while together and self.workers.has_room:
            self._start(together.pop(0))
        if self.ready and not self.workers.running:
            self._start(self.ready[0])

    def _start(self, name: str) -> None:
        self.workers.start_processes()  # the others load libraries while the first stage runs
        self.ready.remove(name)
        inputs = {one: self.finished[one] for one in _list_earlier(self.stages[name])}
        self.workers.start(name, (self.places[name], inputs))

    def _receive(self, message: Message) -> None:
        if message.kind == "event":
            getattr(self.observer, message.content.method)(
                self.stages[message.name], *message.content.arguments
            )
        elif message.kind == "result":
            self._finish(message.name, message.content)
        elif self.failure is None:
            self.failure = message.content
            if self.workers.running:
                names = ", ".join(self.workers.running)
                self.observer.remark(self.stages[message.name], f"failed; finishing {names} first")
        else:
            self.observer.remark(self.stages[message.name], first_line(message.content))

    def _finish(self, name: str, done: Finished) -> None:
        self.finished[name] = done
        self.order.done(name)


def _list_earlier(stage: Stage) -> list[str]:
    return [source for source in stage.inputs.values() if isinstance(source, str)]
