"""Reads the labelled tasks of a language, from wherever they are, into one form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.data.examples import Absent, count_leakage
from harness.data.sources import open_task
from harness.errors import HarnessError
from harness.stages.io.artifacts import write_task
from harness.stages.io.data import source_of

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes ``<task>.json`` for each task asked for.

    Raises:
        HarnessError: a task that the plan counts on is not there.
    """
    config = context.config
    for done, name in enumerate(config["names"]):
        context.progress(done, len(config["names"]), "tasks", {})
        data = open_task(
            source_of(context, name), name, config["language"], tuple(config["sizes"]), config["seed"]
        )
        if isinstance(data, Absent):
            raise HarnessError(f"tasks: wanted '{name}' in '{config['language']}'; {data.reason}")
        write_task(context.out / f"{name}.json", data)
        context.facts[name] = {
            **{part: len(getattr(data, part)) for part in ("train", "dev", "test")},
            "labels": list(data.labels),
            "leakage": count_leakage(data),
            "notes": list(data.notes),
            "provenance": dict(data.provenance),
        }
