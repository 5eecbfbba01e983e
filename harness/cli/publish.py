"""Puts a finished run's report and model where people look for them: at the top of the run's folder."""

from __future__ import annotations

import filecmp
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.pipeline.manifest import NAME
from harness.pipeline.plan import Plan
from harness.pipeline.store import Store

if TYPE_CHECKING:
    from harness.plans.run import RunPlan

MODELS = "onnx"
FIGURES = ("score-by-size.svg", "latency-by-model.svg", "score-by-variant.svg")
"""Drawn where there is something to draw; all else that a report consists of is always written."""
_PART = ".part"


def run_folder(root: Path, language: str, name: str) -> Path:
    """Gives the folder of a run: ``<root>/<language>/<recipe>-<scale>``."""
    return root / language / name


def publish_run(blueprint: RunPlan, store: Store, folder: Path) -> Path:
    """Copies the report and the final student's exports to the top of the run's folder; gives that folder.

    Holds: what is there already and equal is left alone; a reader never sees half a file; no figure and no
    model of an earlier report of the same name stays beside this one.
    """
    keys = blueprint.plan.keys
    copies = [(_made(store, keys["report"]), folder)]
    for task in blueprint.tasks:
        copies.append((_made(store, keys[f"export.{task}.student"]) / "onnx", folder / MODELS / task))
        if "precisions" in keys:
            copies.append((_made(store, keys["precisions"]) / task, folder / MODELS / task))
    published = {path for source, target in copies for path in mirror(source, target)}
    _remove_stale(folder, published)
    return folder


def publish_stage(plan: Plan, store: Store, stage: str, folder: Path) -> None:
    """Copies what a stage wrote into a folder of its own; no figure of an earlier one stays beside it."""
    _remove_stale(folder, mirror(_made(store, plan.keys[stage]), folder))


def publish_model(plan: Plan, store: Store, folder: Path) -> None:
    """Copies the model of a plan's last stage into a folder of its own."""
    mirror(_made(store, list(plan.keys.values())[-1]) / "model", folder)


def mirror(source: Path, target: Path) -> set[Path]:
    """Makes every file of a folder stand in another, but for the manifest; replaces those that differ.

    Holds: several processes may do so at once.

    Returns:
        The files that stand there now for those of the folder.
    """
    copies = {path: target / path.relative_to(source) for path in _files(source)}
    for path, copy in copies.items():
        if copy.is_file() and filecmp.cmp(path, copy, shallow=False):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        half = copy.with_name(f".{copy.name}.{secrets.token_hex(4)}{_PART}")
        try:
            shutil.copyfile(path, half)
            os.replace(half, copy)
        finally:
            half.unlink(missing_ok=True)
    return set(copies.values())


def _remove_stale(folder: Path, published: Collection[Path]) -> None:
    """Removes the models and figures that were published here before and are not now."""
    models = sorted((folder / MODELS).rglob("*"), reverse=True)
    for path in [*models, folder / MODELS, *(folder / name for name in FIGURES)]:
        if path.is_dir():
            with suppress(OSError):  # it holds something, or another process was faster
                path.rmdir()
        elif path not in published and path.suffix != _PART:
            path.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != NAME)


def _made(store: Store, key: str) -> Path:
    found = store.find(key)
    if found is None:
        raise HarnessError(
            f"publish: wanted the finished stage {key} in {store.root}; got none; run it first"
        )
    return found
