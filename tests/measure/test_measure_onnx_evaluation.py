from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from harness.measure.onnx_evaluation import OnnxChecker, bind_batch, open_session, time_files
from harness.measure.parity import probe_batches

WIDTH = 256


class Chain(torch.nn.Module):
    """A model whose row for each token stays the same under many products by the identity."""

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": input_ids[..., None].float().repeat(1, 1, WIDTH)}


def write(path: Path, num_products: int, *, shift: float = 0.0) -> Path:
    nodes = [
        helper.make_node("Unsqueeze", ["input_ids", "last"], ["ids"]),
        helper.make_node("Cast", ["ids"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Expand", ["numbers", "shape"], ["x0"]),
        *(helper.make_node("MatMul", [f"x{n}", "identity"], [f"x{n + 1}"]) for n in range(num_products)),
        helper.make_node("Add", [f"x{num_products}", "shift"], ["logits"]),
    ]
    weights = {
        "last": np.array([-1]),
        "shape": np.array([1, 1, WIDTH]),
        "identity": np.eye(WIDTH, dtype=np.float32),
        "shift": np.full(1, shift, dtype=np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence", WIDTH])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture
def checker() -> OnnxChecker:
    batches = probe_batches(["input_ids", "attention_mask"], vocabulary=9, pad_id=0, max_length=64)
    model = Chain()
    model.forward = lambda input_ids, **_: Chain.forward(model, input_ids)
    return OnnxChecker(model, batches, warmup_s=0, budget_s=0.05, min_rounds=20)


def test_a_checker_finds_differences_and_chooses_the_faster(checker: OnnxChecker, tmp_path: Path):
    long, short = write(tmp_path / "long.onnx", 30), write(tmp_path / "short.onnx", 1)
    assert checker.measure_parity(long).max_abs_delta == 0
    assert checker.measure_parity(write(tmp_path / "off.onnx", 1, shift=0.5)).max_abs_delta == 0.5
    choice = checker.choose_fastest({"long": long, "short": short})
    assert choice.name == "short"
    assert choice.p50_ms["short"] < choice.p50_ms["long"]
    assert "'short' is faster" in choice.reason


def test_inputs_a_graph_does_not_take_are_left_out(tmp_path: Path):
    session = open_session(write(tmp_path / "m.onnx", 1))
    ids = np.ones((1, 3), dtype=np.int64)
    assert bind_batch(session, {"input_ids": ids, "attention_mask": ids})()[0].shape == (1, 3, WIDTH)


def test_each_file_is_timed_on_its_own_batch(tmp_path: Path):
    path = write(tmp_path / "m.onnx", 20)
    batches = {
        "few": {"input_ids": np.ones((1, 2), np.int64)},
        "many": {"input_ids": np.ones((8, 64), np.int64)},
    }
    samples = time_files({"few": path, "many": path}, batches, warmup_s=0, budget_s=0, min_rounds=15)
    assert samples["few"].median_ms < samples["many"].median_ms
    assert len(samples["few"].durations_ns) == 15
