"""The ops' benchmark as pytest-benchmark tests: ``pytest benchmarks/test_ops_benchmark.py``."""

from __future__ import annotations

import pytest

from benchmarks.ops import check
from benchmarks.ops_cases import BUILDERS, SHAPES

SMALL = [(name, shape, dtype) for name, shape, dtype in SHAPES["cpu"]["small"]]
VARIANTS = ("eager", "reference", "compile", "liger pattern", "harness", "harness in place")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("name", "shape", "dtype"), SMALL, ids=[name for name, _, _ in SMALL])
def test_step(benchmark, name, shape, dtype, variant):
    """One training step of one variant."""
    case = BUILDERS[name](shape, dtype, "cpu")
    if variant not in case.variants:
        pytest.skip(f"{name} has no variant '{variant}'")
    benchmark.group = name
    benchmark(case.variants[variant])


@pytest.mark.parametrize(("name", "shape", "dtype"), SMALL, ids=[name for name, _, _ in SMALL])
def test_every_variant_computes_the_same(name, shape, dtype):
    """Loss and gradients are eager's, within rounding."""
    assert max(check(BUILDERS[name](shape, dtype, "cpu")).values()) < 1e-3
