"""A quick checker of exported files."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.deploy.fp32_file import build_checker
from harness.export.source import ExportSource
from harness.measure.onnx_evaluation import OnnxChecker


def make_checker(source: ExportSource) -> OnnxChecker:
    checker = build_checker(source, length=source.max_tokens, seconds=0.05)
    checker.warmup_s, checker.min_rounds = 0, 5
    return checker


@pytest.fixture(name="make_checker", scope="session")
def _make_checker() -> Callable[[ExportSource], OnnxChecker]:
    """Return a function that builds a checker which times for a moment only."""
    return make_checker
