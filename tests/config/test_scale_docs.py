"""The page on recipes names every key that a scale may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config.scale import (
    BLANK,
    CorpusSettings,
    ExportSettings,
    Latency,
    Pretrain,
    Scale,
    Tasks,
    Teacher,
    TrainingAmounts,
)
from harness.config.score_settings import ScoreSettings

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8").split("## Scales")[1]


@pytest.mark.parametrize(
    "part",
    [
        Scale,
        Teacher,
        CorpusSettings,
        Tasks,
        TrainingAmounts,
        ScoreSettings,
        Latency,
        ExportSettings,
        Pretrain,
    ],
)
def test_page_has_every_key_of_a_scale(part):
    absent = [name for name in {*part.model_fields, BLANK} - {"name"} if f"`{name}`" not in PAGE]
    assert not absent
