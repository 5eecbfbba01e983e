"""Messages that list the known names, and numbers in the form that people read."""

from __future__ import annotations

import errno

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime.capi import onnxruntime_pybind11_state

from harness.errors import HarnessError, UsageError, first_line, is_out_of_memory, unknown
from harness.units import format_bytes, format_count, format_duration, format_short, parse_count


def test_unknown_name_lists_known_names_and_the_nearest():
    error = unknown("scale", "mni", ["mini", "paper"])
    assert str(error) == "unknown scale 'mni'; there are: mini, paper. Did you mean 'mini'?"
    assert isinstance(error, UsageError)


def test_unknown_name_without_a_near_one_has_no_hint():
    assert str(unknown("scale", "zzz", ["mini", "paper"])) == "unknown scale 'zzz'; there are: mini, paper."
    assert str(unknown("scale", "zzz", [])) == "unknown scale 'zzz'; there are: none."


@pytest.mark.parametrize(("text", "line"), [("one\ntwo", "one"), ("one", "one"), ("", "ValueError")])
def test_first_line_of_an_error_or_its_type(text, line):
    assert first_line(ValueError(text)) == line


def caused_by(cause):
    error = HarnessError("model: expected weights that fit config.json; got no memory; save the model again")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("no"), True),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has"), True),
        (torch.AcceleratorError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 5 bytes"), True),
        (onnxruntime_pybind11_state.RuntimeException("Failed to allocate memory for buffer of size 5"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (caused_by(torch.OutOfMemoryError("no")), True),
        (caused_by(ValueError("shapes differ")), False),
        (OSError(errno.ENOENT, "No such file or directory", "out of memory.txt"), False),
        (HarnessError("unknown language 'out of memory'"), False),
        (RuntimeError("shapes differ"), False),
    ],
    ids=repr,
)
def test_too_little_memory_is_recognised_by_class_and_by_words(error, expected):
    assert is_out_of_memory(error) == expected


def test_usage_errors_exit_with_two_and_others_with_one():
    assert (HarnessError.exit_code, UsageError.exit_code) == (1, 2)
    assert issubclass(UsageError, HarnessError)


@pytest.mark.parametrize(
    ("text", "number"),
    [("1600", 1600), ("1.6e9", 1_600_000_000), ("1_600", 1600), (7, 7), (2e3, 2000), ("0", 0)],
)
def test_count_is_parsed_as_people_write_it(text, number):
    assert parse_count(text) == number


@pytest.mark.parametrize("text", ["", "many", "-1", "1.5", "nan", "inf", "1e400", "0x10"])
def test_text_that_is_no_count_is_refused(text):
    with pytest.raises(UsageError, match=r"expected a whole number of zero or more, as 1600 or 1.6e9; got "):
        parse_count(text)


@given(st.integers(0, 2**53))
def test_count_survives_formatting_and_parsing(number):
    assert parse_count(str(number)) == number
    assert parse_count(format_count(number).replace(",", "_")) == number


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (999.6, "1 k"),
        (1234, "1.23 k"),
        (177_974_523, "178 M"),
        (999_600, "1 M"),
        (1.6e9, "1.6 G"),
        (1.6e12, "1,600 G"),
    ],
)
def test_short_count_has_three_digits(number, text):
    assert format_short(number) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.50 KiB"),
        (5 * 2**20, "5.00 MiB"),
        (3 * 2**30, "3.00 GiB"),
        (2**50, "1024.00 TiB"),
    ],
)
def test_bytes_are_printed_in_binary_units(size, text):
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.97, "1 min 00 s"),
        (60, "1 min 00 s"),
        (75.2, "1 min 15 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7260, "2 h 01 min"),
    ],
)
def test_duration_is_printed_in_its_two_largest_units(seconds, text):
    assert format_duration(seconds) == text
