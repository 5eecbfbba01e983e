"""What can be counted of the specimens and does not wobble: parameters, bytes, operators, FLOPs."""

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


def count(folder: Path) -> dict[str, int]:
    """Gives every count of the specimens in a folder, by name."""
    counts: dict[str, int] = {}
    for role in models.ROLES:
        counts |= {f"{kind} of {role}{name}": value for kind, name, value in _of(folder / role)}
    teacher = load_checkpoint(folder / "teacher").model
    counts["FLOPs of a distillation step"] = flops(_distillation(teacher))
    return counts


def _of(folder: Path) -> list[tuple[str, str, int]]:
    checkpoint = load_checkpoint(folder)
    found = [
        ("parameters", f", {part}", weight.parameters)
        for part, weight in count_parameters(checkpoint.model).items()
    ]
    for pattern in _FILES:
        found += [("bytes", f"/{path.name}", path.stat().st_size) for path in sorted(folder.glob(pattern))]
    for path in sorted(folder.glob("onnx/*.onnx")):
        found += [("operators", f"/{path.name}{kind}", number) for kind, number in operators(path).items()]
    for runtime in scenarios.RUNTIMES:
        step = scenarios.offline(folder, runtime)
        step()
        found.append(("right answers", f", {runtime}", step.right or 0))
    ids_BL = torch.ones(4, models.LONGEST, dtype=torch.int64)
    with torch.no_grad():
        found.append(("FLOPs", ", 4 × 64 tokens", flops(lambda: checkpoint.model(input_ids=ids_BL))))
    return found


def operators(path: Path) -> dict[str, int]:
    """Gives how many operators a graph has, in all (no name) and of each kind."""
    kinds = Counter(node.op_type for node in onnx.load(path).graph.node)
    return {"": sum(kinds.values()), **{f", {kind}": number for kind, number in sorted(kinds.items())}}


def flops(run: Callable[[], Any]) -> int:
    """Gives the FLOPs of PyTorch's own operators; those inside compiled kernels are not seen."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def _distillation(teacher: Any) -> Callable[[], None]:
    """Gives a step forward and backward; the reference implementation shows all of its FLOPs."""
    student = shorten(teacher, range(3))
    ids_BL = torch.arange(4 * models.LONGEST).reshape(4, -1) % 90 + 5
    labels_BL = torch.where(ids_BL % 7 == 0, ids_BL, -100)
    batch = {"input_ids": ids_BL, "attention_mask": torch.ones_like(ids_BL), "labels": labels_BL}

    def run() -> None:
        torch.autograd.backward(total_loss(stages.DISTILLING, student, teacher, batch)[0])

    return run
