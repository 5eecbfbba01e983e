"""Layer norms as several plain operators, which some runtimes run faster than their own layer norm.

onnxruntime's kernel for (skip and) layer norm adds one number after another; its mean, product and sum are
vectorised. In an int8 graph the norms take a fifth of the time, so the decomposed form is worth a try: it is
a candidate like any other, checked and timed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from harness.export.graph_fields import replace_entries

_AXES = "norm/axes"


def decompose_layernorm(source: Path, target: Path) -> int:
    """Write a copy of a file whose layer norms over the last axis are plain operators; return how many.

    Invariants: outputs differ by rounding alone. Norms without a bias keep their operator.
    """
    model = onnx.load(source)
    opset = next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})
    nodes: list[Any] = []
    constants: dict[str, Any] = {}
    num_norms = 0
    for node in model.graph.node:
        settings = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type != "LayerNormalization" or len(node.input) != 3 or settings.get("axis", -1) != -1:
            nodes.append(node)
            continue
        steps, epsilon = _decompose(node, float(settings.get("epsilon", 1e-5)), num_norms, opset)
        nodes += steps
        constants |= epsilon
        num_norms += 1
    replace_entries(model.graph.node, nodes)
    if num_norms and opset >= 18:
        constants[_AXES] = np.array([-1], dtype=np.int64)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    onnx.save(model, target)
    return num_norms


def _decompose(node: Any, epsilon: float, number: int, opset: int) -> tuple[list[Any], dict[str, Any]]:
    """Return ``(x − mean) / sqrt(mean((x − mean)²) + ε) · γ + β`` as nodes, and the constant ε.

    The square is a product and not a power: a runtime that looks for norms to fuse looks for the power.
    """
    (x, gamma, beta), (y,) = node.input, node.output
    prefix = f"norm/{number}/"
    mean = ([_AXES], {}) if opset >= 18 else ([], {"axes": [-1]})
    small = f"norm/epsilon/{epsilon:g}"
    steps = [
        ("ReduceMean", [x, *mean[0]], f"{prefix}mean", mean[1]),
        ("Sub", [x, f"{prefix}mean"], f"{prefix}centred", {}),
        ("Mul", [f"{prefix}centred", f"{prefix}centred"], f"{prefix}squared", {}),
        ("ReduceMean", [f"{prefix}squared", *mean[0]], f"{prefix}variance", mean[1]),
        ("Add", [f"{prefix}variance", small], f"{prefix}above", {}),
        ("Sqrt", [f"{prefix}above"], f"{prefix}deviation", {}),
        ("Div", [f"{prefix}centred", f"{prefix}deviation"], f"{prefix}normed", {}),
        ("Mul", [f"{prefix}normed", gamma], f"{prefix}scaled", {}),
        ("Add", [f"{prefix}scaled", beta], y, {}),
    ]
    nodes = [
        onnx.helper.make_node(kind, inputs, [output], name=f"{prefix}{kind}/{place}", **settings)
        for place, (kind, inputs, output, settings) in enumerate(steps)
    ]
    return nodes, {small: np.array(epsilon, dtype=np.float32)}
