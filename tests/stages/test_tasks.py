"""The stage that reads labelled tasks, and the reader of what it wrote."""

from __future__ import annotations

import pytest

from harness.errors import HarnessError
from harness.stages import tasks
from harness.stages.io import artifacts


def test_missing_task_is_an_error(data, make_context):
    config = {"source": "folder", "language": "mt", "names": ["topic"], "sizes": [None] * 3, "seed": 1}
    (data / "topic/mt/train.tsv").unlink()
    with pytest.raises(HarnessError, match=r"tasks: expected 'topic' in 'mt'; .*has no train.tsv"):
        tasks.run(make_context(config, {"data:topic/mt": data / "topic/mt"}))


def test_reading_an_unwritten_task_names_the_stage(make_context, tmp_path):
    with pytest.raises(
        HarnessError, match=r"ner: expected ner.json from the stage 'tasks'; got none; run that stage"
    ):
        artifacts.read_task(make_context({}, {"tasks": tmp_path}), "ner")
