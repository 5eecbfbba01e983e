"""The work of single stages on the small models, in tokens or texts a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.common.interleaved import Group, Replay, Step
from benchmarks.regression import stages
from benchmarks.regression.table import STAGES


def make_group(name: str, folder: Path) -> Group:
    """Return a group with one stage."""

    def make() -> dict[str, Step]:
        return {name: getattr(stages, name)(folder)}

    return Group(f"stages: {name}", make, {name: stages.count_work(name, folder)}, stages.UNITS[name])


@pytest.mark.parametrize("name", STAGES)
def test_stage(replay: Replay, folder: Path, name: str) -> None:
    """Report a stage's useful tokens, or texts, a second."""
    assert replay(make_group(name, folder), name).facts[name]["per_s"] > 0
