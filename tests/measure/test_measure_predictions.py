"""Predictions on disk, and the line that signs a score."""

from __future__ import annotations

import pytest

from harness.errors import HarnessError
from harness.measure.predictions import Predictions, read_predictions, write_predictions
from harness.measure.signature import Signature, protocol_text

KEPT = Predictions("pos", ("accuracy",), [["NOUN", "ħ"], []], {1: [["VERB", "ħ"], []]}, "task:pos|lang:mt")


def test_predictions_are_read_as_they_were_written_and_equal_ones_are_equal_bytes(tmp_path):
    for name in ("one.gz", "other.gz"):
        write_predictions(KEPT, tmp_path / name)
    assert read_predictions(tmp_path / "one.gz") == KEPT
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "other.gz").read_bytes()


@pytest.mark.parametrize("content", [b"", b"text", b"\x1f\x8b\x08\x00broken", None])
def test_what_is_no_file_of_predictions_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "predictions.json.gz"
    if content is not None:
        path.write_bytes(content)
    wanted = r"predictions: wanted a .*predictions\.json\.gz.*; got .*; score"
    with pytest.raises(HarnessError, match=wanted) as told:
        read_predictions(path)
    assert "\n" not in str(told.value)


def test_a_signature_is_one_line_that_tells_models_apart():
    def sign(model: str) -> str:
        return str(
            Signature(
                task="pos", language="mt", data="folder#ab", split="test", n_items=518,
                protocol=protocol_text("full", {"epochs": 6, "dropout": None, "batch_size": 16}),
                seeds=[1, 2], model=model, versions={"torch": "2.13", "harness": "0.1"},
            )
        )  # fmt: skip

    assert sign("a|b\n") == (
        "task:pos|lang:mt|data:folder#ab|split:test|n:518|protocol:full,batch_size=16,epochs=6|seeds:1,2|"
        "model:a/b |harness:0.1|torch:2.13"
    )
    assert sign("a") != sign("b")
