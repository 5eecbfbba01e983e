"""The ops' benchmark as pytest-benchmark tests: ``pytest benchmarks/test_ops_benchmark.py``.

A GPU's cases run where there is one.
"""

from __future__ import annotations

import pytest
import torch

from benchmarks.ops import synchronised
from benchmarks.ops_cases import BUILDERS, SHAPES

DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
CASES = [
    pytest.param((device, name, shape, dtype), variant, id=f"{device}-{name}-{variant}")
    for device in DEVICES
    for name, shape, dtype in SHAPES[device]["small"]
    for variant in BUILDERS[name](shape, dtype, device).variants
]


@pytest.mark.parametrize(("asked", "variant"), CASES)
def test_step(benchmark, asked, variant):
    """One training step of one variant."""
    device, name, shape, dtype = asked
    case = BUILDERS[name](shape, dtype, device)
    benchmark.group = f"{device}: {name}"
    benchmark.extra_info.update(flops=case.flops, traffic_bytes=case.traffic_bytes)
    benchmark(synchronised(case.variants, device)[variant])
