"""Tell within a second what a run would do: only files from outside are hashed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.pipeline import manifest
from harness.pipeline.manifest import Manifest
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.store import Store

State = Literal["done", "partial", "missing", "broken"]


@dataclass(frozen=True)
class StageStatus:
    """The state of a stage; `folder` is its folder, or its partial folder."""

    stage: Stage
    key: str
    state: State
    folder: Path | None


def status(plan: Plan, store: Store) -> list[StageStatus]:
    """Return the state of each stage, in order.

    Invariants: a run runs each stage that is not ``done``. It runs a ``done`` stage again only where bytes
    changed and sizes did not, which `harness.pipeline.verify` finds.
    """
    digests: dict[str, str] = {}
    statuses = []
    finished, unfinished = store.index(), store.index_partial()
    for stage in plan:
        key = plan.keys[stage.id]
        folder, partial = finished.get(key), unfinished.get(key)
        written = _read(folder, _read_digests(plan, stage, digests)) if folder else None
        if written:
            digests[stage.id] = written.outputs_digest
        state: State = "done" if written else "broken" if folder else "partial" if partial else "missing"
        statuses.append(StageStatus(stage, key, state, folder or partial))
    return statuses


def _read_digests(plan: Plan, stage: Stage, digests: dict[str, str]) -> dict[str, str]:
    """Return the current digests of the inputs, by role."""
    present = {}
    for role, source in stage.inputs.items():
        content = plan.external[source] if isinstance(source, Path) else digests.get(source)
        if content:
            present[role] = content
    return present


def _read(folder: Path, inputs: dict[str, str]) -> Manifest | None:
    try:
        written = manifest.read(folder)
    except ValueError:
        return None
    recorded = {role: one.digest for role, one in written.inputs.items()}
    whole = not manifest.find_problems(folder, written, rehash=False)
    return written if whole and recorded == recorded | inputs else None
