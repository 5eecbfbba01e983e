from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import transformers

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


def test_attention_that_a_model_does_not_have_is_refused(tmp_path: Path):
    """DeBERTa's class has one attention; transformers would go on with it, and the record would be wrong."""
    config = transformers.DebertaV2Config(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model, settings = transformers.DebertaV2ForMaskedLM(config), {"head": HEADS["mlm"], "max_length": 16}
    inputs = ("input_ids", "attention_mask")
    with pytest.raises(HarnessError, match="expected a model whose attention can be sdpa; got DebertaV2Fo"):
        graphs.write_graph(model, tmp_path / "a.onnx", graphs.WAYS["legacy-sdpa"], inputs=inputs, **settings)
    assert model.config._attn_implementation == "eager"
