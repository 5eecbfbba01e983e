"""The work of single stages on the small models, in tokens or texts a second."""

from __future__ import annotations

import pytest

from benchmarks import stages
from benchmarks.entries import STAGES
from benchmarks.level import Group


def group_of(name, folder):
    """Gives the group of a stage, which is alone in it."""

    def make():
        return {name: getattr(stages, name)(folder)}

    return Group(f"stages: {name}", make, {name: stages.work_of(name, folder)}, stages.UNITS[name])


@pytest.mark.parametrize("name", STAGES)
def test_stage(replay, folder, name):
    """A stage's useful tokens, or texts, a second."""
    assert replay(group_of(name, folder), name).facts[name]["per_s"] > 0
