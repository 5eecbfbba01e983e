"""Read the labelled tasks of a language, from any source, into one form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.data.examples import SPLITS, Absent, TaskData, count_leakage, count_repeats, transfer
from harness.data.sources import open_task
from harness.errors import HarnessError
from harness.stages.io.artifacts import write_task
from harness.stages.io.data import find_source
from harness.stages.io.facts import LeakageCounts, RepeatCounts, TaskFacts, TasksFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> TasksFacts:
    """Write ``<task>.json`` for each task of the plan.

    With a task language, train and dev are that language's.

    Raises:
        HarnessError: the source has no such task, the task cannot be read, or the two languages have other
            labels.
    """
    config = context.config
    facts = {}
    for done, name in enumerate(config["names"]):
        context.progress(done, len(config["names"]), "tasks", {})
        data = _open(context, name, config["language"])
        if "task_language" in config:
            data = transfer(_open(context, name, config["task_language"]), data)
        write_task(context.out / f"{name}.json", data)
        facts[name] = _describe(data)
    return TasksFacts(facts)


def _open(context: Context, name: str, language: str) -> TaskData:
    config = context.config
    data = open_task(
        find_source(context, name),
        name,
        language,
        tuple(config["sizes"]),
        config["seed"],
        strict=config.get("strict", False),
    )
    if isinstance(data, Absent):
        raise HarnessError(f"tasks: expected '{name}' in '{language}'; {data.reason}")
    return data


def _describe(data: TaskData) -> TaskFacts:
    return TaskFacts(
        train=len(data.train),
        dev=len(data.dev),
        test=len(data.test),
        labels=list(data.labels),
        leakage=LeakageCounts(**count_leakage(data)),
        repeats={
            part: RepeatCounts(duplicates=duplicates, contradictions=contradictions)
            for part in SPLITS
            for duplicates, contradictions in [count_repeats(data, part)]
        },
        notes=list(data.notes),
        provenance=dict(data.provenance),
    )
