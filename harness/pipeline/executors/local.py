"""Run calls in worker processes of this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from harness.pipeline.workers import Call, Message, WorkerLostError, Workers


def run_locally(
    call: Call,
    jobs: Mapping[str, Any],
    *,
    number: int,
    retries: int,
    prepare: Callable[[int], None] | None = None,
) -> Iterator[Message]:
    """Run a call for each job, and yield what the workers send; every job ends by a result or an error.

    Args:
        call: what each worker runs.
        jobs: its argument, by name.
        number: workers at the same time.
        retries: how often a job begins again after its worker was killed.
        prepare: called first in each worker, with its number.
    """
    waiting, lost = list(jobs), Counter[str]()
    with Workers(number, call, prepare) as workers:
        while waiting or workers.running:
            while waiting and workers.has_room:
                name = waiting.pop(0)
                workers.start(name, jobs[name])
            for message in workers.wait():
                name = message.name
                if isinstance(message.content, WorkerLostError) and lost[name] < retries:
                    lost[name] += 1
                    waiting.insert(0, name)
                    yield Message(name, "event", f"{message.content.how}; it begins again")
                else:
                    yield message
