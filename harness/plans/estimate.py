"""Estimate the time, disk and memory that the missing stages of a plan need. Imports no torch.

The work of a stage is counted in multiplications from the shape of its model and the tokens that it reads;
the speed is that of finished stages of the same kind, or else a share of what the processor reaches on one
matrix product. Both are rough: a time may be half or twice what is printed.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from harness.config.shape import Shape
from harness.config.steps.base import ResolvedStep
from harness.measure.environment import describe
from harness.pipeline import manifest
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.status import StageStatus
from harness.pipeline.store import Store

EFFICIENCY = MappingProxyType({"fp32": 0.3, "bf16": 2.0})
"""What trainings in a precision reach of an fp32 matrix product's speed, where no finished stage says more.

In bf16, a processor with instructions for it did 2.2 to 3.0 times as much as in one fp32 product, with 280 to
380 * 10^9 operations a second in the trainings of a whole run at `laptop` on two cores.
"""
FEWEST_S = 1.0
"""What a stage takes in addition to its work, in seconds: reading, hashing and writing."""
LIBRARIES_BYTES = 700 << 20
"""What the process takes before it holds a model."""
MOST_READ = 50
"""Finished stages whose speed is read, of each beginning of an id."""
_DESCRIBING = frozenset({"quality", "package"})
"""Kinds of stages that read a model and write none."""
_SIZES = (2500, 500, 1000)
"""Examples of train, dev and test of a task of which a plan does not state the numbers."""
_LENGTH = 40
"""Tokens of an example of a task, where longer ones are not cut."""
_TRAINS, _FORWARD = 3, 1
"""A forward and a backward pass cost three forward passes."""


@dataclass(frozen=True)
class PlanEstimate:
    """What the missing stages of a plan need.

    Attributes:
        num_stages: that are missing.
        seconds: all of them together.
        stage_seconds: each of them, by id.
        disk_bytes: of their files, checkpoints included.
        disk_free_bytes: where the runs are kept.
        memory_bytes: of the largest of them.
        memory_total_bytes: of this machine; None where it is not known.
        num_timed: finished stages whose speed was taken; 0 where this machine's own speed was measured.
    """

    num_stages: int
    seconds: float
    stage_seconds: Mapping[str, float]
    disk_bytes: int
    disk_free_bytes: int
    memory_bytes: int
    memory_total_bytes: int | None
    num_timed: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def estimate_plan(plan: Plan, statuses: Sequence[StageStatus], store: Store) -> PlanEstimate:
    """Return what the stages of a plan that are not done need."""
    shapes = list_shapes(plan)
    missing = [row.stage for row in statuses if row.state != "done"]
    speeds = _read_speeds(store)
    general = statistics.median([one for many in speeds.values() for one in many]) if speeds else None
    product = measure_speed() if general is None else 0.0
    seconds = {}
    for stage in missing:
        known = speeds.get(stage.kind)
        speed = statistics.median(known) if known else general or EFFICIENCY[_find_precision(stage)] * product
        work = count_work(stage, shapes, read_sizes(plan))
        seconds[stage.id] = FEWEST_S + _count_fixed_seconds(stage) + work / speed
    disk = store.root
    while not disk.exists():
        disk = disk.absolute().parent
    return PlanEstimate(
        num_stages=len(missing),
        seconds=sum(seconds.values()),
        stage_seconds=seconds,
        disk_bytes=sum(count_bytes(stage, shapes) for stage in missing),
        disk_free_bytes=shutil.disk_usage(disk).free,
        memory_bytes=max((_count_memory(stage, shapes) for stage in missing), default=0),
        memory_total_bytes=_read_memory(),
        num_timed=sum(map(len, speeds.values())),
    )


def _find_precision(stage: Stage) -> str:
    """Return the precision of a stage's products on this machine."""
    stated = stage.config.get("precision") or stage.config.get("protocol", {}).get("precision")
    if stated == "auto":
        flags = describe()["isa"]
        return "bf16" if isinstance(flags, list) and "avx512_bf16" in flags else "fp32"
    return stated or "fp32"


def count_work(stage: Stage, shapes: Mapping[str, Shape], sizes: Sequence[int] = _SIZES) -> float:
    """Return about how many multiplications and additions a stage takes; 0 where it runs no model on text.

    Args:
        stage: planned or finished.
        shapes: of the model that each stage writes or reads, by stage id.
        sizes: examples of train, dev and test of the scored task.
    """
    shape = _find_shape(stage, shapes)
    if shape is None:
        return 0.0
    config = stage.config
    if stage.kind == "score":
        return _count_scoring(config, shape, sizes)
    tokens = count_tokens(config)
    if tokens == 0:
        return 0.0
    trains = config.get("learning_rate") is not None
    head = 1.0 if "logit" in str(config.get("loss", "")) else float(config.get("mask_fraction", 0.15))
    work = tokens * _count_per_token(shape, head) * (_TRAINS if trains else _FORWARD)
    if "density" in config:  # all weights first
        work *= 2
    kept = config.get("number")
    if kept is not None:  # by influence: each layer that is still there is tried, in one pass
        work *= sum(range(kept + 1, shapes[str(stage.inputs["model"])].layers + 1))
    teacher = stage.inputs.get("teacher")
    if isinstance(teacher, str) and teacher in shapes:
        work += tokens * _count_per_token(shapes[teacher], head)
    return work


def _count_scoring(config: Mapping[str, Any], shape: Shape, sizes: Sequence[int]) -> float:
    protocol = config["protocol"]
    train, dev, test = sizes
    epochs = protocol["epochs"]
    seen = min(train * epochs, protocol.get("max_examples") or train * epochs)
    seen = max(seen, (protocol.get("min_steps") or 0) * protocol["batch_size"])
    passes = _TRAINS * seen + _FORWARD * (dev * epochs + test)
    fine_tunings = len(config["seeds"]) + max(0, len(protocol.get("learning_rates") or ()) - 1)
    length = min(int(protocol["max_length"]), _LENGTH)
    on_text = len(config["seeds"]) * _TRAINS * _count_text_lines(config)
    return float((fine_tunings * passes + on_text) * length) * _count_per_token(shape, 0.0)


def _count_text_lines(config: Mapping[str, Any]) -> int:
    """Return how many lines of labelled text a fine-tuning sees before the task's examples."""
    if "text" not in config:
        return 0
    return int(config["lesson"]["text"]) * int(config["text"]["epochs"])


def count_tokens(config: Mapping[str, Any]) -> int:
    """Return how many tokens of text the stage with a config reads; 0 where it states none."""
    return int(config.get("tokens") or config.get("epochs", 0) * 1_000_000)


def _count_per_token(shape: Shape, head_fraction: float) -> float:
    """Return the multiplications and additions of a forward pass for each token."""
    layer = 4 * shape.hidden**2 + 2 * shape.hidden * shape.ffn
    return 2.0 * (shape.layers * layer + head_fraction * shape.hidden * shape.vocabulary)


def _count_fixed_seconds(stage: Stage) -> float:
    """Return what a stage's settings themselves state: how long it times models."""
    config = stage.config
    if stage.kind == "latency":
        rows = len(config["lengths"]) * len(config["threads"]) * len(config["tasks"])
        return float(rows * (config["seconds"] + 2 * config["warmup_seconds"]))
    if stage.kind == "export":
        return 2.0 * len(config["candidates"]) * float(config["seconds"])
    return 0.0


def count_bytes(stage: Stage, shapes: Mapping[str, Shape]) -> int:
    """Return about how many bytes a stage's folder has."""
    shape = _find_shape(stage, shapes)
    if (
        shape is None
        or stage.kind in _DESCRIBING
        or (stage.kind == "score" and not stage.config.get("keep_model"))
    ):
        return 1 << 16
    weights = 4 * shape.num_parameters
    return weights * 5 // 4 if stage.kind == "export" else weights


def _count_memory(stage: Stage, shapes: Mapping[str, Shape]) -> int:
    """Return about how much memory a stage takes: weights, gradients, averages of Adam, and inner states."""
    shape = _find_shape(stage, shapes)
    if shape is None:
        return LIBRARIES_BYTES
    config = stage.config
    trains = stage.kind == "score" or config.get("learning_rate") is not None
    weights = shape.num_parameters * (16 if trains else 4)
    teacher = stage.inputs.get("teacher")
    if isinstance(teacher, str) and teacher in shapes:
        weights += 4 * shapes[teacher].num_parameters
    batch = int(stage.settings.get("device_tokens") or config.get("batch_tokens") or 0)
    if stage.kind == "score":
        batch = config["protocol"]["batch_size"] * config["protocol"]["max_length"]
    states = 4 * batch * (shape.layers * (10 * shape.hidden + 2 * shape.ffn) if trains else 4 * shape.hidden)
    logits = 8 * min(batch, 2048) * shape.vocabulary if "mask_fraction" in config else 0
    return LIBRARIES_BYTES + weights + states + logits


def list_shapes(plan: Plan) -> dict[str, Shape]:
    """Return the shape of the model that each stage writes or reads, by stage id, where it is known."""
    shapes: dict[str, Shape] = {}
    for stage in plan:
        before = stage.inputs.get("model")
        if "shape" in stage.config:
            shapes[stage.id] = Shape.model_validate(stage.config["shape"])
        elif isinstance(before, str) and before in shapes:
            step = stage.step
            shapes[stage.id] = (
                step.change_shape(shapes[before]) if isinstance(step, ResolvedStep) else shapes[before]
            )
    return shapes


def _find_shape(stage: Stage, shapes: Mapping[str, Shape]) -> Shape | None:
    return shapes.get(stage.id)


def read_sizes(plan: Plan) -> tuple[int, ...]:
    """Return the most examples of train, dev and test that a plan's tasks have."""
    stated = next((stage.config["sizes"] for stage in plan if stage.kind == "tasks"), _SIZES)
    return tuple(known if one is None else int(one) for one, known in zip(stated, _SIZES, strict=True))


def _read_speeds(store: Store) -> dict[str, list[float]]:
    """Return the speeds of finished stages in a store, by kind; of a large store only some are read."""
    manifests = _Manifests(store.index())
    speeds: dict[str, list[float]] = {}
    for key in manifests.choose(MOST_READ):
        one = manifests.get(key)
        work = count_recorded_work(one, manifests) if one else 0.0
        if one and work and one.wall_s > FEWEST_S and not one.resumed:
            speeds.setdefault(one.kind, []).append(work / (one.wall_s - FEWEST_S / 2))
    return speeds


class _Manifests:
    """The manifests of the finished stages in a store by key, each read when it is asked for."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.folders = folders
        self.read: dict[str, manifest.Manifest | None] = {}

    def get(self, key: str) -> manifest.Manifest | None:
        """Return the manifest of a stage; None where there is none that can be read."""
        if key not in self.read:
            self.read[key] = None
            with suppress(KeyError, ValueError):
                self.read[key] = manifest.read(self.folders[key])
        return self.read[key]

    def choose(self, number: int) -> Iterator[str]:
        """Yield the keys of at most so many stages of each beginning of a stage's id, as ``score``."""
        taken = Counter[str]()
        for key, folder in self.folders.items():
            beginning = re.split(r"[-.]", folder.name)[1]
            taken[beginning] += 1
            if taken[beginning] <= number:
                yield key


class Manifests(Protocol):
    """Finished stages by key."""

    def get(self, key: str, /) -> manifest.Manifest | None:
        """Return the manifest of a stage; None where there is none."""


def count_recorded_work(one: manifest.Manifest, written: Manifests) -> float:
    """Return the work of a finished stage from its manifest and those of the models that it read."""
    shapes = {}
    for role in ("model", "teacher"):
        source = written.get(one.inputs[role].key or "") if role in one.inputs else None
        shape = source.facts.get("shape") if source else None
        if shape is not None:
            shapes[role] = Shape.model_validate(shape)
    if "shape" in one.config:
        shapes["model"] = Shape.model_validate(one.config["shape"])
    if "model" not in shapes:
        return 0.0
    inputs: dict[str, str | Path] = {role: role for role in shapes}
    stage = Stage(one.stage, one.kind, one.version, one.config, inputs)
    tasks = written.get(one.inputs["tasks"].key or "") if "tasks" in one.inputs else None
    sizes = _SIZES
    if tasks is not None and one.config.get("task") in tasks.facts:
        facts = tasks.facts[one.config["task"]]
        sizes = (facts["train"], facts["dev"], facts["test"])
    return count_work(stage, {**shapes, one.stage: shapes["model"]}, sizes)


def measure_speed() -> float:
    """Return how many multiplications and additions this machine does in a second, of one matrix product."""
    size = 768
    left = np.ones((size, size), np.float32)
    left @ left
    fastest = min(_time_product(left) for _ in range(5))
    return 2.0 * size**3 / fastest


def _time_product(matrix: Any) -> float:
    began = time.perf_counter()
    matrix @ matrix
    return time.perf_counter() - began


def _read_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
