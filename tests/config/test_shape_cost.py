"""The costs of sizes are those of the records."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from statistics import mean

import numpy as np
import pytest

from harness.config.shape import KNOWN_TEACHERS
from harness.config.shape_cost import BASIS, COSTS, ShapeCost, predict_cost

RECORDS = Path(__file__).parents[2] / "benchmarks" / "records"


def fit(costs):
    """Return the cost of least squares over shares r; powers are on a grid, factors not negative."""
    missing_N = np.array([1 / share - 1 for share in costs])
    cost_N = np.array(list(costs.values()))
    fits = []
    for power in np.arange(0.1, 3.01, 0.05):
        terms_N = missing_N**power
        factor = max(0.0, terms_N @ cost_N / (terms_N @ terms_N))
        fits.append((float(np.sum((factor * terms_N - cost_N) ** 2)), factor, power))
    return ShapeCost(*min(fits)[1:])


@pytest.fixture(scope="module")
def added():
    """Return the mean relative added loss of a change after the distillation, by share."""
    (path,) = RECORDS.glob("surgery_*_e9e8810.json")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    whole = next(cell["before"] for cell in cells if cell["change"] == "teacher")

    def added(change, way):
        losses = defaultdict(list)
        for cell in cells:
            if (cell["change"], cell["way"]) == (change, way) and cell["after"] is not None:
                over, under = map(int, cell["width"].split("/"))
                losses[over / under].append(cell["after"] / whole - 1)
        return {share: mean(values) for share, values in losses.items()}

    return added


def test_width_and_ffn_are_fitted_to_the_added_loss(added):
    assert COSTS["hidden"] == pytest.approx(fit(added("narrow", "pca")), abs=6e-5)
    assert COSTS["ffn"] == pytest.approx(fit(added("prune", "4 rounds")), abs=6e-5)


def test_depth_is_the_one_that_was_measured(added):
    """Of four layers the evenly spread two are the first and the last."""
    ((share, loss),) = added("shorten", "first and last").items()
    assert COSTS["layers"].add(share) == pytest.approx(loss, abs=6e-5)
    assert COSTS["layers"].power == 1


def test_vocabulary_is_fitted_to_the_lost_scores():
    (path,) = RECORDS.glob("mt-ablate-gurgurov2025-vocabulary-mini_*.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    scores = defaultdict(list)
    for row in record["scores"]:
        scores[row["model"]].append(row["mean"])
    tokens = {model["id"]: model["shape"]["vocabulary"] for model in record["models"] if model["shape"]}
    lost = {
        tokens[name] / tokens["as_written"]: 1 - mean(values) / mean(scores["as_written"])
        for name, values in scores.items()
        if name.startswith("trim_")
    }
    assert len(lost) == 4
    assert COSTS["vocabulary"] == pytest.approx(fit(lost), abs=6e-5)


def test_recorded_students_lost_about_as_much_as_their_cost():
    """Half the layers and half the FFN of multilingual-e5-small, after its trimming, in four languages."""
    lost = []
    for path in RECORDS.glob("*-compact2026@14m-laptop-folder_*.json"):
        scores = defaultdict(list)
        for row in json.loads(path.read_text(encoding="utf-8"))["scores"]:
            scores[row["model"]].append(row["mean"])
        lost.append(1 - mean(scores["tune"]) / mean(scores["trim"]))
    teacher = KNOWN_TEACHERS["e5-small"].shape
    student = teacher.model_copy(update={"layers": 6, "ffn": 768, "vocabulary": 16384})
    cost = predict_cost(student, teacher)
    assert cost == pytest.approx(0.02, abs=1e-3)
    assert len(lost) >= 4
    assert mean(lost) == pytest.approx(cost, abs=0.02)
    assert f"lost {100 * min(lost):.0f} to {100 * max(lost):.0f} % of its scores" in BASIS
