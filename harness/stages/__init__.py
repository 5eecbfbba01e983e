"""The stages: one module for each kind of `harness.stages.table`, with one function ``run(context)``."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from harness.errors import unknown
from harness.stages.io.facts import to_json
from harness.stages.table import KINDS

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def make_runner(kind: str) -> Callable[[Context], None]:
    """Return a function that imports the module of a kind when it is first called, and runs the stage.

    Planning, and a run whose stages are all done, import no torch.

    Raises:
        UsageError: no such kind.
    """
    if kind not in KINDS:
        raise unknown("stage kind", kind, KINDS)

    return partial(_run_stage, kind)


def _run_stage(kind: str, context: Context) -> None:
    module = import_module(f"harness.stages.{kind}")
    gc.collect()
    gc.freeze()  # a training collects garbage twice: the objects of the libraries need not be scanned
    facts = module.run(context)
    if not isinstance(facts, KINDS[kind].facts):
        raise TypeError(f"harness.stages.{kind}: expected facts of the type {KINDS[kind].facts.__name__}")
    context.facts.update(to_json(facts))


RUNNERS: Mapping[str, Callable[[Context], None]] = MappingProxyType(
    {kind: make_runner(kind) for kind in KINDS}
)
