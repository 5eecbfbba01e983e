"""Counts of instructions repeat exactly, and change with the loop that changes."""

from __future__ import annotations

import shutil

import pytest

from benchmarks.regression import instructions
from benchmarks.regression.revisions import ROOT
from harness.errors import HarnessError

counted = pytest.mark.skipif(
    bool(instructions.list_missing_tools()), reason=f"needs {' and '.join(instructions.list_missing_tools())}"
)
LOOPS = (
    "distillation_row",
    "distillation_row_backward",
    "hidden_row",
    "hidden_row_slope",
    "gelu_row",
    "gelu_row_backward",
)


@pytest.mark.slow
@counted
def test_more_work_in_a_loop_changes_its_count_alone(tmp_path):
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    path = tmp_path / "csrc/linear_gelu_linear/row.h"
    text = path.read_text()
    assert "  return x * integral;" in text
    path.write_text(text.replace("  return x * integral;", "  return x * integral * (x * x + 3);"))
    before, after = instructions.count_instructions(ROOT), instructions.count_instructions(tmp_path)
    assert set(before) == {f"instructions of {name}" for name in LOOPS}
    assert all(number > 4099 for number in before.values())
    assert {name for name in before if before[name] != after[name]} == {"instructions of gelu_row"}
    assert after["instructions of gelu_row"] > before["instructions of gelu_row"] + 4099 // 4


def test_revision_without_kernels_has_no_counts(tmp_path):
    assert instructions.count_instructions(tmp_path) == {}


def test_loops_that_do_not_compile_are_one_line(tmp_path):
    if shutil.which("c++") is None:
        pytest.skip("needs a compiler")
    (tmp_path / "csrc/cpu").mkdir(parents=True)
    (tmp_path / "csrc/cpu/instruction_set.h").write_text("#error nothing here\n")
    with pytest.raises(
        HarnessError, match=r"^compare: expected a count of instructions; c\+\+ failed: .*nothing here"
    ):
        instructions.count_instructions(tmp_path)
