from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from harness.errors import HarnessError
from harness.measure.onnx_evaluation import open_session
from harness.measure.parity import compare_logits, probe_batches


class Twice(torch.nn.Module):
    """A model whose two logits are each token's id and its negative."""

    def __init__(self, *, per_text: bool = False) -> None:
        super().__init__()
        self.per_text = per_text

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        assert attention_mask.shape == input_ids.shape
        logits = torch.stack([input_ids, -input_ids], -1).float()
        return {"logits": logits[:, 0] if self.per_text else logits}


class FakeSession:
    def __init__(self, change=lambda logits, _: logits, *, per_text: bool = False) -> None:
        self.model, self.change = Twice(per_text=per_text), change

    def get_inputs(self):
        return [SimpleNamespace(name="input_ids"), SimpleNamespace(name="attention_mask")]

    def run(self, _, feed):
        logits = self.model(*(torch.from_numpy(feed[name]) for name in ("input_ids", "attention_mask")))[
            "logits"
        ]
        return [self.change(logits.numpy(), feed)]


def batches() -> list[dict[str, np.ndarray]]:
    return probe_batches(
        ["input_ids", "attention_mask", "token_type_ids"][:2], vocabulary=50, pad_id=0, max_length=40
    )


def test_probe_batches_have_padding_odd_lengths_and_one_token():
    probes = batches()
    shapes = [one["input_ids"].shape for one in probes]
    assert (1, 1) in shapes
    assert any(length % 2 for _, length in shapes if length > 1)
    for one in probes:
        assert one["input_ids"].dtype == np.int64
        assert ((one["input_ids"] == 0) == (one["attention_mask"] == 0)).all()
        assert one["attention_mask"][0].all()
    assert any((one["attention_mask"] == 0).any() for one in probes)


def test_probe_batches_try_the_second_text_of_a_pair():
    names = ["input_ids", "attention_mask", "token_type_ids"]
    two, one = (probe_batches(names, vocabulary=50, pad_id=0, types=types) for types in (2, 1))
    for batch, other in zip(two, one, strict=True):
        types_BL, mask_BL = batch["token_type_ids"], batch["attention_mask"]
        assert types_BL.dtype == np.int64
        assert types_BL[0, -1] == 1
        assert not types_BL[:, : types_BL.shape[1] // 2].any()
        assert not types_BL[mask_BL == 0].any()
        assert not other["token_type_ids"].any()
        assert (batch["input_ids"] == other["input_ids"]).all()


def test_equal_models_are_equal():
    parity = compare_logits(Twice(), FakeSession(), batches())
    assert (parity.max_abs_delta, parity.argmax_agreement) == (0, 1)
    assert parity.num_positions == sum(int(one["attention_mask"].sum()) for one in batches())


def test_padded_positions_do_not_count():
    def spoil_padding(logits, feed):
        return np.where(feed["attention_mask"][..., None] == 0, 1e9, logits)

    assert compare_logits(Twice(), FakeSession(spoil_padding), batches()).max_abs_delta == 0


def test_one_wrong_position_counts():
    def spoil_one(logits, feed):
        logits[0, 0] = -logits[0, 0]
        return logits

    one = [{"input_ids": np.full((1, 4), 3), "attention_mask": np.ones((1, 4), dtype=np.int64)}]
    parity = compare_logits(Twice(), FakeSession(spoil_one), one)
    assert parity.max_abs_delta == 6
    assert parity.argmax_agreement == 0.75


def test_sequence_heads_count_texts():
    parity = compare_logits(Twice(per_text=True), FakeSession(per_text=True), batches())
    assert parity.num_positions == sum(len(one["input_ids"]) for one in batches())


def test_nan_is_an_infinite_difference():
    parity = compare_logits(Twice(), FakeSession(lambda logits, _: logits * np.nan), batches())
    assert parity.max_abs_delta == float("inf")


def test_other_shapes_and_no_batches_are_refused():
    with pytest.raises(HarnessError, match="parity: expected logits of shape"):
        compare_logits(Twice(), FakeSession(per_text=True), batches())
    with pytest.raises(HarnessError, match="parity: expected one attended position at least; got none"):
        compare_logits(Twice(), FakeSession(), [])


def test_a_file_that_is_no_model_is_refused(tmp_path):
    bad = tmp_path / "model.onnx"
    bad.write_bytes(b"not a model")
    with pytest.raises(HarnessError, match=r"onnx: expected a model in .*export it again") as caught:
        open_session(bad)
    assert "\n" not in str(caught.value)
    with pytest.raises(HarnessError, match="onnx: expected a model"):
        open_session(tmp_path / "none.onnx")
