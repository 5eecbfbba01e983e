"""Puts a finished run's report and model where people look for them: at the top of the run's folder."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.pipeline.manifest import NAME
from harness.pipeline.plan import Plan
from harness.pipeline.store import Store

if TYPE_CHECKING:
    from harness.stages.blueprint import Blueprint


def run_folder(root: Path, language: str, name: str) -> Path:
    """Gives the folder of a run: ``<root>/<language>/<recipe>-<scale>``."""
    return root / language / name


def publish_run(blueprint: Blueprint, store: Store, folder: Path) -> Path:
    """Copies the report and the final student's exports to the top of the run's folder; gives that folder.

    Holds: what is there already and equal is left alone; a reader never sees half a file.
    """
    keys = blueprint.plan.keys
    mirror(_made(store, keys["report"]), folder)
    for task in blueprint.tasks:
        mirror(_made(store, keys[f"export.{task}.student"]) / "onnx", folder / "onnx" / task)
        if "precisions" in keys:
            mirror(_made(store, keys["precisions"]) / task, folder / "onnx" / task)
    return folder


def publish_stage(plan: Plan, store: Store, stage: str, folder: Path) -> None:
    """Copies what a stage wrote into a folder of its own."""
    mirror(_made(store, plan.keys[stage]), folder)


def publish_model(plan: Plan, store: Store, folder: Path) -> None:
    """Copies the model of a plan's last stage into a folder of its own."""
    mirror(_made(store, list(plan.keys.values())[-1]) / "model", folder)


def mirror(source: Path, target: Path) -> None:
    """Makes every file of a folder stand in another, but for the manifest; replaces those that differ."""
    for path in _files(source):
        copy = target / path.relative_to(source)
        if copy.is_file() and filecmp.cmp(path, copy, shallow=False):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        half = copy.with_name(f".{copy.name}.part")
        shutil.copyfile(path, half)
        os.replace(half, copy)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != NAME)


def _made(store: Store, key: str) -> Path:
    found = store.find(key)
    if found is None:
        raise HarnessError(
            f"publish: wanted the finished stage {key} in {store.root}; got none; run it first"
        )
    return found
