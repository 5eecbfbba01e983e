"""Teacher and student answer one text after another, and all texts at once, in each runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.common.interleaved import Group, Replay, Step
from benchmarks.regression import models, scenarios

VARIANTS = [f"{role}, {runtime}" for role in models.ROLES for runtime in scenarios.RUNTIMES]
REFERENCES = {one: f"{one.split(', ')[0]}, torch" for one in VARIANTS}
NUM_QUERIES = len(models.read_topics().test)


def make_group(scenario: str, folder: Path) -> Group:
    """Return the group of a scenario."""

    def make() -> dict[str, Step]:
        make_step = getattr(scenarios, scenario)
        return {one: make_step(folder / one.split(", ")[0], one.split(", ")[1]) for one in VARIANTS}

    work = {"": NUM_QUERIES if scenario == "offline" else 1}
    return Group(f"encoders: {scenario.replace('_', ' ')}", make, work, "queries", REFERENCES)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scenario", ["single_stream", "offline"])
def test_scenario(replay: Replay, folder: Path, scenario: str, variant: str) -> None:
    """Report the 90th percentile of a query, or queries a second, with the accuracy."""
    facts = replay(make_group(scenario, folder), variant).facts[variant]
    assert facts["accuracy"] is not None, "every query was asked"
    if variant.endswith((", torch", ", onnx")):
        assert facts["valid"], "the graph in full precision answers as the model does"
