"""What the study of initialization varies, and how its table shows a difference."""

from __future__ import annotations

import yaml

from benchmarks.studies.initialization import WITH, WITHOUT, draw_table, make_scale
from harness.config import load_scale


def test_only_the_heads_and_the_seed_differ(tmp_path):
    made = {}
    for way in (WITH, WITHOUT):
        path = tmp_path / f"{way}.yaml"
        path.write_text(yaml.safe_dump(make_scale(7, way)))
        made[way] = load_scale(str(path)).model_dump(exclude={"name"})
    assert made[WITH]["seed"] == 7
    changed = {name for name in made[WITH] if made[WITH][name] != made[WITHOUT][name]}
    assert changed == {"teacher"}
    pretrain = [made[way]["teacher"]["pretrain"] for way in (WITH, WITHOUT)]
    assert {name for name in pretrain[0] if pretrain[0][name] != pretrain[1][name]} == {"attention"}


def test_difference_is_with_less_without():
    scores = {
        "names": {"a": "a", "b": "b"},
        "tasks": {"pos": "accuracy"},
        "scores": {
            name: {"pos": {"metrics": {"accuracy": {"mean": mean}}}}
            for name, mean in (("a", 0.9), ("b", 0.8))
        },
        "comparisons": [
            {"model": "b", "task": "pos", "difference": {"value": -0.1, "low": -0.12, "high": -0.07}}
        ],
    }
    seed = {"seed": 1, "losses": {WITH: [9.0, 4, 4, 4, 4, 4], WITHOUT: [5.0] * 6}, "scores": scores}
    assert list(draw_table([seed]))[-1] == "| 1 | 4.000 | 5.000 | pos | 90.0 | 80.0 | +10.0 (+7.0 to +12.0) |"
