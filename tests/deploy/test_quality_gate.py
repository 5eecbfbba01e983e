"""The gate keeps one part after another in fp32 until a copy passes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.data.examples import TaskData, TextExample
from harness.deploy.quality_gate import QualityGate, fit_labels
from harness.errors import HarnessError
from harness.measure.gate import compare_copy
from harness.tasks import TASKS

GOLD = ["a", "b"] * 100
WRONG = ["b", "a"] * 100


class ScriptedGate(QualityGate):
    """A gate whose copies predict the gold labels once enough operators are left out."""

    def __init__(self, needed: int) -> None:
        self.operators = {
            "head": ("h",),
            "embeddings": ("e",),
            "ffn_out": ("f1", "f2"),
            "attention": ("q",),
            "ffn_in": ("i",),
        }
        self.needed, self.written = needed, []

    def write(self, excluded):
        self.written.append(list(excluded))
        return Path("copy")

    def check_copy(self, _):
        copy = GOLD if len(self.written[-1]) >= self.needed else WRONG
        return compare_copy("accuracy", GOLD, GOLD, copy, part="dev")


def test_a_copy_that_passes_is_kept_whole():
    gate = ScriptedGate(0)
    done = gate.quantize_until_passing(gate.write)
    assert (done.verdict.passed, done.kept_parts, gate.written) == (True, (), [[]])


def test_parts_stay_in_fp32_one_after_another_until_it_passes():
    gate = ScriptedGate(4)
    done = gate.quantize_until_passing(gate.write)
    assert done.verdict.passed
    assert done.kept_parts == ("head", "embeddings", "ffn_out")
    assert gate.written == [[], ["h"], ["h", "e"], ["h", "e", "f1", "f2"]]
    assert [drop for _, drop in done.tried] == [1, 1, 1, 0]


def test_a_copy_that_never_passes_is_written_whole_and_marked():
    gate = ScriptedGate(99)
    done = gate.quantize_until_passing(gate.write)
    assert not done.verdict.passed
    assert done.kept_parts == ()
    assert gate.written[-1] == []
    assert len(done.tried) == 5
    assert done.record()["verdict"]["drop"] == 1


def test_labels_are_in_the_models_order_and_unknown_ones_are_refused():
    part = (TextExample("x", "b"),)
    data = TaskData(TASKS["topic"], "mt", ("a", "b"), part, part, part)
    config = SimpleNamespace(num_labels=2, id2label={0: "b", 1: "a"})
    assert fit_labels(data, config).labels == ("b", "a")
    accented = TaskData(TASKS["topic"], "mt", ("\u00e9", "a"), *[(TextExample("x", "\u00e9"),)] * 3)
    assert fit_labels(accented, SimpleNamespace(num_labels=2, id2label={0: "e\u0301", 1: "a "})).labels == (
        "é",
        "a",
    )
    config.id2label = {0: "c", 1: "a"}
    with pytest.raises(HarnessError, match=r"topic: expected data with the model's labels \(c, a\); got 'b'"):
        fit_labels(data, config)
