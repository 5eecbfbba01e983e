"""Find where a saved model comes from: the stages that made it, the teacher, the data, and their licences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.json_files import read_json
from harness.models.loading.licence import read_licence
from harness.pipeline.manifest import NAME
from harness.pipeline.store import Store

UNKNOWN = "not stated"
_RUN_DEPTH = 3
_OWN = {
    "builtin": "text drawn from a lexicon and a grammar of this program: Apache-2.0",
    "folder": "not stated: a data folder of the user's",
}


def find_lineage(model: Path) -> dict[str, Any]:
    """Return what is known of a model's origin.

    Invariants: nothing is guessed; a licence is what the card of the teacher, or of a model that no stage of
    the harness made, states.

    Args:
        model: its folder; that of a stage's output where it came out of a run.

    Returns:
        ``steps`` (the stages on the way from the teacher), ``teacher``, ``data`` (source, revision
        and licence of each), ``licences`` of teacher and data.
    """
    steps = _read_chain(model.resolve().parent)
    teacher = next((one for one in steps if one["kind"] in {"fetch", "pretrain"}), None)
    data = _find_data(steps)
    return {
        "steps": [
            {name: one[name] for name in ("stage", "kind", "key", "commit", "started_at")} for one in steps
        ],
        "teacher": _describe_teacher(teacher),
        "data": data,
        "licences": {
            "teacher": _find_teacher_licence(teacher, model),
            "data": sorted({one["licence"] for one in data.values()}) or [UNKNOWN],
        },
    }


def name_model(model: Path) -> str:
    """Return what a model is called: its run, its name on the hub, or its folder."""
    folder = model.resolve()
    snapshots, cached = folder.parent, folder.parent.parent
    if snapshots.name == "snapshots" and cached.name.startswith("models--"):
        return cached.name.rpartition("--")[2]
    if folder.name == "model" and (folder.parent / NAME).is_file():
        run = folder.parent.parent
        return f"{run.parent.name}-{run.name}".replace("@", "-")
    return folder.name


def _read_chain(folder: Path) -> list[dict[str, Any]]:
    """Return the manifests from the teacher to this stage; none where no stage made the model."""
    chain: list[dict[str, Any]] = []
    store = Store(folder.parents[_RUN_DEPTH - 1]) if len(folder.parents) >= _RUN_DEPTH else None
    here: Path | None = folder
    while store and here is not None and (manifest := _read_manifest(here)) is not None:
        chain.insert(0, manifest)
        before = manifest["inputs"].get("model", {}).get("key")
        here = store.find(before) if before else None
    known = {one["key"] for one in chain}
    for manifest in list(chain):
        for role in ("tasks", "corpus", "corpora"):
            key = manifest["inputs"].get(role, {}).get("key")
            place = store.find(key) if store and key and key not in known else None
            if place is not None and (other := _read_manifest(place)) is not None:
                known.add(key)
                chain.insert(0, other)
    return chain


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    try:
        value = read_json(folder / NAME)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and {"stage", "kind", "key", "inputs"} <= value.keys() else None


def _describe_teacher(manifest: dict[str, Any] | None) -> dict[str, Any] | None:
    if manifest is None:
        return None
    if manifest["kind"] == "pretrain":
        return {"name": "trained by this program", "shape": manifest["facts"].get("shape")}
    return dict(manifest["facts"].get("teacher", {}))


def _find_teacher_licence(manifest: dict[str, Any] | None, model: Path) -> str:
    if manifest is not None and manifest["kind"] == "pretrain":
        return "trained by this program: as its data"
    stated = (manifest["facts"].get("teacher") or {}).get("licence") if manifest is not None else None
    return str(stated or read_licence(model) or UNKNOWN)


def _find_data(steps: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Return source, revision and licence of each task and corpus that was read."""
    origins: dict[str, dict[str, str]] = {}
    for one in steps:
        if one["kind"] not in {"tasks", "corpus"}:
            continue
        prefix = "" if one["kind"] == "tasks" else f"{one['stage']}/"
        for name, facts in one["facts"].items():
            source = str(one["config"].get("source"))
            origins[f"{prefix}{name}"] = _find_origin(facts.get("provenance", {}), source)
    return origins


def _find_origin(provenance: dict[str, Any], source: str) -> dict[str, str]:
    kind = source if source in {"builtin", "hub"} else "folder"
    licence = str(provenance.get("licence") or _OWN.get(kind, UNKNOWN))
    named = str(provenance.get("hub") or kind)
    return {"source": named, "licence": licence, "revision": str(provenance.get("revision") or "")}
