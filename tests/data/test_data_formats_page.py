"""The page on formats: every reader reads its example, and its tables name every task and every part."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.data.examples import TaskData
from harness.data.folder import read_task
from harness.data.formats import READERS
from harness.report.results import Results
from harness.tasks import TASKS

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"^`(\w+)/mt/train(\.\w+)`.*?^```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)
EXAMPLES = {task: (ending, text) for task, ending, text in EXAMPLE.findall(PAGE)}


def rows(heading):
    """The cells of each row of the first table under a heading."""
    table = re.split(r"\n\|[ :|-]+\|\n", PAGE.split(heading)[1], maxsplit=1)[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]


@pytest.mark.parametrize("task", EXAMPLES)
def test_an_example_of_the_page_is_read(task, tmp_path):
    ending, text = EXAMPLES[task]
    assert ending == TASKS[task].format.ending
    folder = tmp_path / task / "mt"
    folder.mkdir(parents=True)
    for part in ("train", "dev", "test"):
        (folder / f"{part}{ending}").write_text(text, encoding="utf-8")
    data = read_task(tmp_path, task, "mt")
    assert isinstance(data, TaskData)
    assert data.notes == ()
    assert len(data.train) == {"pos": 1, "ner": 1, "topic": 2, "nli": 1}[task]


def test_there_is_an_example_of_every_format():
    assert {TASKS[task].format.name for task in EXAMPLES} == READERS.keys()


def test_the_table_of_results_names_every_part():
    named = {name for row in rows("`results.json` has") for name in re.findall(r"`(\w+)`", row[0])}
    assert named | {"schema_version", "absent"} == set(Results.model_fields)
