"""Predictions on disk, and the line that signs a score."""

from __future__ import annotations

import pytest

from harness.errors import HarnessError
from harness.measure.predictions import Predictions, read_predictions, write_predictions
from harness.measure.signature import Signature, format_protocol

KEPT = Predictions("pos", ("accuracy",), [["NOUN", "ħ"], []], {1: [["VERB", "ħ"], []]}, "task:pos|lang:mt")


def test_predictions_are_read_as_written_and_are_equal_bytes(tmp_path):
    for name in ("one.gz", "other.gz"):
        write_predictions(KEPT, tmp_path / name)
    assert read_predictions(tmp_path / "one.gz") == KEPT
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "other.gz").read_bytes()


@pytest.mark.parametrize("content", [b"", b"text", b"\x1f\x8b\x08\x00broken", None])
def test_another_file_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "predictions.json.gz"
    if content is not None:
        path.write_bytes(content)
    expected = r"predictions: expected a .*predictions\.json\.gz.*; got .*; score"
    with pytest.raises(HarnessError, match=expected) as caught:
        read_predictions(path)
    assert "\n" not in str(caught.value)


def test_signatures_of_two_models_differ():
    def sign(model: str) -> str:
        return str(
            Signature(
                task="pos", language="mt", data="folder#ab", split="test", n_items=518,
                protocol=format_protocol("full", {"epochs": 6, "dropout": None, "batch_size": 16}),
                seeds=[1, 2], model=model, versions={"torch": "2.13", "harness": "0.1"},
            )
        )  # fmt: skip

    assert sign("a|b\n") == (
        "task:pos|lang:mt|data:folder#ab|split:test|n:518|protocol:full,batch_size=16,epochs=6|seeds:1,2|"
        "model:a/b |harness:0.1|torch:2.13"
    )
    assert sign("a") != sign("b")
