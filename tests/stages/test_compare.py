"""The stage that compares scored models: the verdicts of a long table."""

from __future__ import annotations

import json
from itertools import combinations

from harness.measure.predictions import FILE, Predictions, write_predictions
from harness.stages import compare

GOLD = ["a", "b"] * 15


def test_long_table_still_finds_differences(make_context, tmp_path):
    ids = [f"good{number}" for number in range(13)] + [f"bad{number}" for number in range(13)]
    inputs = {}
    for name in ids:
        inputs[f"score.topic.{name}"] = folder = tmp_path / name
        folder.mkdir()
        said = GOLD if name.startswith("good") else ["b", "a"] * 15
        predictions = Predictions("topic", ("accuracy",), GOLD, {1: said}, "signature")
        write_predictions(predictions, folder / FILE)
    pairs = list(combinations(ids, 2))
    assert len(pairs) == 325
    context = make_context({"models": ids, "tasks": ["topic"], "pairs": pairs}, inputs)
    compare.run(context)
    rows = json.loads((context.out / "comparisons.json").read_text(encoding="utf-8"))
    for row in rows:
        alike = row["model"][:3] == row["other"][:3]
        assert row["verdict"] == ("not told apart" if alike else "better"), row
