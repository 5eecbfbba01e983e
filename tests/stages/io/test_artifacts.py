"""Reading and writing of artifacts: the precision that ``auto`` selects."""

from __future__ import annotations

from harness.stages.io import artifacts


def test_auto_precision_depends_on_the_processor():
    assert artifacts.choose_precision("fp32") == "fp32"
    assert artifacts.choose_precision("bf16") == "bf16"
    assert artifacts.choose_precision("auto") in {"fp32", "bf16"}
