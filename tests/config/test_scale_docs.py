"""The page on recipes names every key that a scale may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config.scale import (
    BLANK,
    Corpus,
    Export,
    Latency,
    Pretrain,
    Scale,
    Score,
    Tasks,
    Teacher,
    Training,
)

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8").split("## Scales")[1]


@pytest.mark.parametrize("part", [Scale, Teacher, Corpus, Tasks, Training, Score, Latency, Export, Pretrain])
def test_every_key_of_a_scale_stands_on_the_page(part):
    absent = [name for name in {*part.model_fields, BLANK} - {"name"} if f"`{name}`" not in PAGE]
    assert not absent
