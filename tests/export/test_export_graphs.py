from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from harness.errors import HarnessError
from harness.export import graphs
from harness.tasks import HEADS


def test_operators_that_are_not_standard_are_refused(tmp_path: Path):
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("FusedGelu", ["x"], ["logits"], domain="com.example")
    graph = onnx.helper.make_graph([node], "g", [value("x", 7, [1, 1])], [value("logits", 1, [1, 1, 2])])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")
    with pytest.raises(HarnessError, match=r"expected standard operators only; got com\.example"):
        graphs._clean_graph(tmp_path / "model.onnx", HEADS["pos"])
