"""The stage that reduces the width of the hidden states."""

from __future__ import annotations

import pytest

from harness.config.amounts import TextSettings
from harness.config.steps.narrow import ResolvedNarrow
from harness.stages import narrow


@pytest.mark.parametrize("basis", ["importance", "pca"])
def test_narrowing_reads_the_training_text(finished, make_context, basis):
    inputs = {"model": finished.folder("prune"), "corpus": finished.folder("corpus")}
    amount = {"tokens": 600, "batch_tokens": 96, "mask_fraction": 0.2, "sequence_length": 24}
    text = TextSettings(**amount, precision="fp32", seed=3)
    ways = {"basis": basis, "within": "svd", "refit": basis == "pca", "heads_mode": "narrowed"}
    shape = finished.facts("prune")["shape"]
    sizes = {"hidden": shape["hidden"] // 2, "heads": shape["heads"]}
    step = ResolvedNarrow(**sizes, **ways, text=text)
    context = make_context({"held_out_length": 24}, inputs, step=step)
    facts = narrow.run(context)
    assert facts.shape.model_dump() == shape | sizes
    assert 0 < facts.held_out.loss < 10
