"""Count parameters, bytes, operators and FLOPs of the small models: numbers without noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.regression import models, scenarios, stages
from harness.models.loading.checkpoint import load_checkpoint
from harness.models.size import count_parameters
from harness.models.surgery.axes import shorten
from harness.train.losses.objective import total_loss

_FILES = ("*.safetensors", "tokenizer.json", "onnx/*.onnx")


def count_models(folder: Path) -> dict[str, int]:
    """Return every count of the small models in a folder, by name."""
    counts: dict[str, int] = {}
    for role in models.ROLES:
        counts |= {f"{kind} of {role}{name}": value for kind, name, value in _count_model(folder / role)}
    teacher = load_checkpoint(folder / "teacher").model
    counts["FLOPs of a distillation step"] = count_flops(_make_distillation(teacher))
    return counts


def _count_model(folder: Path) -> list[tuple[str, str, int]]:
    checkpoint = load_checkpoint(folder)
    counts = [
        ("parameters", f", {part}", weight.parameters)
        for part, weight in count_parameters(checkpoint.model).items()
    ]
    for pattern in _FILES:
        counts += [("bytes", f"/{path.name}", path.stat().st_size) for path in sorted(folder.glob(pattern))]
    for path in sorted(folder.glob("onnx/*.onnx")):
        counts += [
            ("operators", f"/{path.name}{kind}", number) for kind, number in count_operators(path).items()
        ]
    for runtime in scenarios.RUNTIMES:
        step = scenarios.offline(folder, runtime)
        step()
        counts.append(("right answers", f", {runtime}", step.right or 0))
    ids_BL = torch.ones(4, models.LONGEST, dtype=torch.int64)
    with torch.no_grad():
        counts.append(("FLOPs", ", 4 × 64 tokens", count_flops(lambda: checkpoint.model(input_ids=ids_BL))))
    return counts


def count_operators(path: Path) -> dict[str, int]:
    """Return the number of operators of a graph, in all (no name) and of each kind."""
    kinds = Counter(node.op_type for node in onnx.load(path).graph.node)
    return {"": sum(kinds.values()), **{f", {kind}": number for kind, number in sorted(kinds.items())}}


def count_flops(run: Callable[[], Any]) -> int:
    """Return the FLOPs of PyTorch's own operators; those of compiled kernels are not counted."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def _make_distillation(teacher: Any) -> Callable[[], None]:
    """Return a step forward and backward; all FLOPs of the reference implementation are counted."""
    student = shorten(teacher, range(3))
    ids_BL = torch.arange(4 * models.LONGEST).reshape(4, -1) % 90 + 5
    labels_BL = torch.where(ids_BL % 7 == 0, ids_BL, -100)
    batch = {"input_ids": ids_BL, "attention_mask": torch.ones_like(ids_BL), "labels": labels_BL}

    def run() -> None:
        torch.autograd.backward(total_loss(stages.DISTILLING, student, teacher, batch)[0])

    return run
