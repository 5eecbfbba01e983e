"""Layer norms spelled out in plain operators, which some runtimes run faster than their own layer norm.

onnxruntime's kernel for (skip and) layer norm adds one number after another; its mean, product and sum are
vectorised. In an int8 graph the norms are a fifth of the time, so that spelling them out is worth a try: it
is a candidate like any other, checked and timed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

_AXES = "norm/axes"


def spell_out_norms(source: Path, target: Path) -> int:
    """Writes a copy of a file whose layer norms over the last axis are plain operators; gives how many.

    What holds: outputs differ by rounding alone. Norms without a bias keep their operator.
    """
    model = onnx.load(source)
    opset = next(one.version for one in model.opset_import if one.domain in {"", "ai.onnx"})
    nodes: list[Any] = []
    constants: dict[str, Any] = {}
    found = 0
    for node in model.graph.node:
        settings = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type != "LayerNormalization" or len(node.input) != 3 or settings.get("axis", -1) != -1:
            nodes.append(node)
            continue
        spelled, epsilon = _spell(node, float(settings.get("epsilon", 1e-5)), found, opset)
        nodes += spelled
        constants |= epsilon
        found += 1
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    if found and opset >= 18:
        constants[_AXES] = np.array([-1], dtype=np.int64)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    onnx.save(model, target)
    return found


def _spell(node: Any, epsilon: float, number: int, opset: int) -> tuple[list[Any], dict[str, Any]]:
    """Gives ``(x − mean) / sqrt(mean((x − mean)²) + ε) · γ + β`` as nodes, and the constant ε.

    The square is a product and not a power: a runtime that looks for norms to fuse looks for the power.
    """
    (x, gamma, beta), (y,) = node.input, node.output
    at = f"norm/{number}/"
    mean = ([_AXES], {}) if opset >= 18 else ([], {"axes": [-1]})
    small = f"norm/epsilon/{epsilon:g}"
    steps = [
        ("ReduceMean", [x, *mean[0]], f"{at}mean", mean[1]),
        ("Sub", [x, f"{at}mean"], f"{at}centred", {}),
        ("Mul", [f"{at}centred", f"{at}centred"], f"{at}squared", {}),
        ("ReduceMean", [f"{at}squared", *mean[0]], f"{at}variance", mean[1]),
        ("Add", [f"{at}variance", small], f"{at}above", {}),
        ("Sqrt", [f"{at}above"], f"{at}deviation", {}),
        ("Div", [f"{at}centred", f"{at}deviation"], f"{at}normed", {}),
        ("Mul", [f"{at}normed", gamma], f"{at}scaled", {}),
        ("Add", [f"{at}scaled", beta], y, {}),
    ]
    made = [
        onnx.helper.make_node(kind, inputs, [output], name=f"{at}{kind}/{place}", **settings)
        for place, (kind, inputs, output, settings) in enumerate(steps)
    ]
    return made, {small: np.array(epsilon, dtype=np.float32)}
