"""Copy a finished run's report and model to the top of the run's folder, where people look for them."""

from __future__ import annotations

import filecmp
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.deploy.lineage import find_lineage
from harness.errors import HarnessError
from harness.pipeline.faults import FULL, describe_full_disk
from harness.pipeline.folders import is_folder
from harness.pipeline.manifest import NAME
from harness.pipeline.plan import Plan
from harness.pipeline.store import Store
from harness.report.results import read_results
from harness.report.student_card import render_student_card

if TYPE_CHECKING:
    from harness.plans.run import RunPlan

MODELS = "onnx"
STUDENT = "student"
CARD = "README.md"
FIGURES = ("score-by-size.svg", "latency-by-model.svg", "loss-curves.svg", "score-by-variant.svg")
"""The files of a report that may be absent; all its other files are always written."""
_PART = ".part"


def locate_run(root: Path, language: str, name: str) -> Path:
    """Return the folder of a run: ``<root>/<language>/<recipe>-<scale>``."""
    return root / language / name


def publish_run(plan: RunPlan, store: Store, folder: Path) -> Path:
    """Copy the report, the final student and its exports to the top of the run's folder; return that folder.

    The student's folder is an ordinary one of transformers, with a card.

    Invariants: equal files are left alone; where two stages have a file of the same name, that of the later
    stage is copied; a reader never sees half a file; no figure and no model of an earlier report of the same
    name remains.
    """
    keys = plan.plan.keys
    copies = [(_find_stage(store, keys["report"]), folder)]
    for task in plan.exported:
        target = folder / MODELS / task
        copies.append((_find_stage(store, keys[f"export.{task}.student"]) / "onnx", target))
        if "precisions" in keys:
            copies.append((_find_stage(store, keys["precisions"]) / task, target))
        copies.append((_find_stage(store, keys[f"package.{task}"]), target))
    student = _find_stage(store, keys[plan.student])
    copies.append((student / "model", folder / STUDENT))
    files = {file: path for source, target in copies for file, path in _pair_files(source, target)}
    for file, path in files.items():
        _replace(file, path)
    _remove_stale(folder, {*files, folder / STUDENT / CARD})
    card = render_student_card(read_results(folder / "results.json"), find_lineage(student / "model"))
    _replace(folder / STUDENT / CARD, card.encode())
    return folder


def publish_stage(plan: Plan, store: Store, stage: str, folder: Path) -> None:
    """Copy a stage's outputs into a folder of their own, from which figures of an earlier run are removed."""
    _remove_stale(folder, mirror(_find_stage(store, plan.keys[stage]), folder))


def publish_model(plan: Plan, store: Store, folder: Path) -> None:
    """Copy the model of a plan's last stage into a folder of its own."""
    mirror(_find_stage(store, list(plan.keys.values())[-1]) / "model", folder)


def mirror(source: Path, target: Path) -> set[Path]:
    """Copy every file of a folder but the manifest into another folder; replace files that differ.

    Invariants: several processes may mirror the same folders at once.

    Returns:
        The copies in the target folder.
    """
    copies = dict(_pair_files(source, target))
    for copy, path in copies.items():
        _replace(copy, path)
    return set(copies)


def _pair_files(source: Path, target: Path) -> Iterator[tuple[Path, Path]]:
    """Return the copy's place and the file, for every file of a folder but the manifest."""
    return ((target / path.relative_to(source), path) for path in _list_files(source))


def _replace(target: Path, content: Path | bytes) -> None:
    """Write a file's copy, or bytes, where the target differs; a reader sees the old content or the new."""
    if target.is_file():
        if isinstance(content, bytes):
            if target.read_bytes() == content:
                return
        elif filecmp.cmp(content, target, shallow=False):
            return
    if is_folder(target):
        raise HarnessError(
            f"{target}: expected the place of a file of the run; got a folder; move it away and run again"
        )
    half = target.with_name(f".{target.name}.{secrets.token_hex(4)}{_PART}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            half.write_bytes(content)
        else:
            shutil.copyfile(content, half)
        os.replace(half, target)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise HarnessError(f"publish: {describe_full_disk(target.parent)}") from error
    finally:
        half.unlink(missing_ok=True)


def _remove_stale(folder: Path, published: Collection[Path]) -> None:
    """Remove the models and figures of earlier runs that were not published now."""
    own = (MODELS, STUDENT)
    models = sorted((path for name in own for path in (folder / name).rglob("*")), reverse=True)
    for path in [*models, *(folder / name for name in own), *(folder / name for name in FIGURES)]:
        if path.is_dir():
            with suppress(OSError):  # it is not empty, or another process was faster
                path.rmdir()
        elif path not in published and path.suffix != _PART:
            path.unlink(missing_ok=True)


def _list_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != NAME)


def _find_stage(store: Store, key: str) -> Path:
    stage = store.find(key)
    if stage is None:
        raise HarnessError(
            f"publish: expected the finished stage {key} in {store.root}; got none; run it first"
        )
    return stage
