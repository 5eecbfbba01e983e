"""The ops' training steps at small shapes, all variants of an op in a group; outputs are checked first.

A GPU's cases run where there is one. Full shapes, memory and shares of peak: `benchmarks.ops`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pytest
import torch

from benchmarks.common.interleaved import Group, Replay, Step
from benchmarks.ops.cases import BUILDERS, SHAPES
from benchmarks.ops.timing import check_case, synchronise

DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def steps(device: str, name: str, shape: Mapping[str, int], dtype: torch.dtype) -> Mapping[str, Step]:
    """Return the variants of a case, after a check that they compute the same."""
    case = BUILDERS[name](shape, dtype, device)
    check_case(case)
    return synchronise(case.variants, device)


CASES = [
    pytest.param(
        Group(f"ops: {name}, {device}", partial(steps, device, name, shape, dtype)),
        variant,
        id=f"{device}-{name}-{variant}",
    )
    for device in DEVICES
    for name, shape, dtype in SHAPES[device]["small"]
    for variant in BUILDERS[name](shape, dtype, device).variants
]


@pytest.mark.parametrize(("group", "variant"), CASES)
def test_step(replay: Replay, group: Group, variant: str) -> None:
    """One training step of one variant."""
    replay(group, variant)
