"""Budgets of size and latency, and the sizes of exported files counted from shapes."""

from __future__ import annotations

import pytest

from harness.config.export_size import FILE_BYTES, count_file_bytes
from harness.config.file_budget import FileBudget, parse_file_budget
from harness.config.shape import KNOWN_TEACHERS, Shape
from harness.errors import UsageError
from harness.families import FAMILIES
from harness.precisions import PRECISIONS


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("4 MB int8, 5 ms", FileBudget("int8", 4e6, 5.0)),
        ("5ms,4MB fp16", FileBudget("fp16", 4e6, 5.0)),
        ("0.5 MiB", FileBudget("int8", 524_288.0, None)),
        ("5 ms q4", FileBudget("q4", None, 5.0)),
        ("1 s", FileBudget("int8", None, 1000.0)),
    ],
)
def test_budget_is_read(text, budget):
    assert parse_file_budget(text) == budget


@pytest.mark.parametrize(
    "text", ["", "4", "4 bananas", "4 MB, 5 MB", "-4 MB", "0 MB", "4 MB int8 5 ms", "nan MB", "4 MB,", "٤ MB"]
)
def test_other_text_is_no_budget(text):
    with pytest.raises(UsageError, match=r"--budget: expected a size, a latency or both"):
        parse_file_budget(text)


def test_unknown_precision_is_no_budget():
    with pytest.raises(UsageError, match=r"unknown precision 'int4'; there are: fp32, fp16, int8"):
        parse_file_budget("4 MB int4")


def test_every_precision_is_counted():
    assert set(FILE_BYTES) == set(PRECISIONS)


def test_recorded_exports_have_the_counted_size():
    """The files of benchmarks/records/sl-compact2026@14m-laptop…, teacher and student."""
    teacher = KNOWN_TEACHERS["e5-small"].shape
    student = teacher.model_copy(update={"layers": 6, "ffn": 768, "vocabulary": 16384})
    recorded = {
        (teacher, "fp32"): 470_626_606,
        (teacher, "int8"): 119_579_272,
        (student, "fp32"): 55_006_935,
        (student, "int8"): 14_157_484,
    }
    for (shape, precision), size_bytes in recorded.items():
        assert count_file_bytes(shape, precision) == pytest.approx(size_bytes, rel=0.005)


def make_shape(family, **sizes):
    row = FAMILIES[family]
    given = {"layers": 2, "hidden": 128, "heads": 4, "ffn": 256, "vocabulary": 6000, "positions": 130}
    given |= {"embedding": 64} if "embedding" in row.keys else {}
    return Shape(family=family, types=row.token_types, **{**given, **sizes})


@pytest.mark.parametrize("precision", PRECISIONS)
def test_counted_size_is_that_of_a_real_export(precision, tmp_path):
    from harness.deploy.latency_table import LatencySetting
    from harness.deploy.student_timing import write_student

    shape = make_shape("bert")
    written = write_student(shape, tmp_path, LatencySetting(precision, 16, 1)).stat().st_size
    assert count_file_bytes(shape, precision) == pytest.approx(written, rel=0.02)


@pytest.mark.parametrize("family", ["xlm-roberta", "distilbert", "electra", "modernbert"])
def test_counted_size_holds_for_other_families(family, tmp_path):
    from harness.deploy.latency_table import LatencySetting
    from harness.deploy.student_timing import write_student

    shape = make_shape(family)
    written = write_student(shape, tmp_path, LatencySetting("int8", 16, 1)).stat().st_size
    assert count_file_bytes(shape, "int8") == pytest.approx(written, rel=0.02)
