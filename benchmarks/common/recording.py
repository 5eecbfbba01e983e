"""Write a record of a benchmark: numbers as JSON, tables as Markdown, and the machine."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from harness import ops
from harness.measure.environment import describe

SCHEMA_VERSION = 1
SHOWN = (
    "cpu",
    "cores",
    "gpu",
    "threads",
    "ops",
    "instruction_set",
    "THP_MEM_ALLOC_ENABLE",
    "commit",
    "dirty",
)


def describe_environment(device: str) -> dict[str, object]:
    """Return the machine, the versions and the implementation of the ops."""
    compiled = ops.implementation(device) == "compiled"
    return {
        **describe(),
        "device": device,
        "ops": ops.implementation(device),
        "instruction_set": torch.ops.harness.instruction_set() if compiled else None,
        "THP_MEM_ALLOC_ENABLE": os.environ.get("THP_MEM_ALLOC_ENABLE"),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def name_record(benchmark: str, about: Mapping[str, object]) -> str:
    """Return ``<benchmark>_<machine>_<yyyymm>_<commit>``; the machine is the GPU where there is one."""
    machine = str(about["gpu"] or about["cpu"]).lower()
    letters = "".join(letter if letter.isalnum() else " " for letter in machine)
    return f"{benchmark}_{'-'.join(letters.split())}_{datetime.now(UTC):%Y%m}_{str(about['commit'])[:7]}"


def remove_paths(scorecard: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of a scorecard without the folders that models and data were read from."""
    data = {
        task: {name: value for name, value in facts.items() if name != "provenance"}
        for task, facts in scorecard["data"].items()
    }
    return {name: value for name, value in scorecard.items() if name != "sources"} | {"data": data}


def write_record(
    folder: Path,
    benchmark: str,
    about: Mapping[str, object],
    numbers: Mapping[str, object],
    lines: Sequence[str],
) -> Path:
    """Write a record as ``.json`` and ``.md``, and return the path of the ``.json``."""
    stem = folder / name_record(benchmark, about)
    folder.mkdir(parents=True, exist_ok=True)
    content = {"schema_version": SCHEMA_VERSION, "environment": about, **numbers}
    facts = ", ".join(f"{key}: {about[key]}" for key in SHOWN)
    path = stem.with_name(stem.name + ".json")
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    text = "\n".join([f"# {benchmark.capitalize()}", "", facts, "", *lines])
    path.with_suffix(".md").write_text(text.rstrip() + "\n", encoding="utf-8")
    return path
