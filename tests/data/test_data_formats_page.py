"""The page on formats: every reader reads its example, and its tables name every task and every part."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.data.folder import read_task
from harness.data.formats import FORMATS
from harness.data.tasks import TASKS, TaskData
from harness.report.results import Results

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(r"^`(\w+)/mt/train(\.\w+)`.*?^```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)
EXAMPLES = {task: (ending, text) for task, ending, text in EXAMPLE.findall(PAGE)}
SHORT = {"accuracy": "accuracy", "macro_f1": "macro-F1", "span_f1": "F1 of spans"}


def rows(heading):
    """The cells of each row of the first table under a heading."""
    table = re.split(r"\n\|[ :|-]+\|\n", PAGE.split(heading)[1], maxsplit=1)[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]


@pytest.mark.parametrize("task", EXAMPLES)
def test_an_example_of_the_page_is_read(task, tmp_path):
    ending, text = EXAMPLES[task]
    assert ending == FORMATS[task][0]
    folder = tmp_path / task / "mt"
    folder.mkdir(parents=True)
    for part in ("train", "dev", "test"):
        (folder / f"{part}{ending}").write_text(text, encoding="utf-8")
    data = read_task(tmp_path, task, "mt")
    assert isinstance(data, TaskData)
    assert data.notes == ()
    assert len(data.train) == {"pos": 1, "ner": 1, "topic": 2, "nli": 1}[task]


def test_there_is_an_example_of_every_format():
    assert {FORMATS[task] for task in EXAMPLES} == set(FORMATS.values())


def test_the_table_of_tasks_names_each_with_its_ending_and_its_main_score():
    found = {}
    for names, ending, _, score in rows("### Tasks"):
        for name in re.findall(r"`(\w+)`", names):
            found[name] = ending.strip("`"), score.removesuffix(" by word")
    assert found == {name: (FORMATS[name][0], SHORT[task.metrics[0]]) for name, task in TASKS.items()}


def test_the_table_of_results_names_every_part():
    named = {name for row in rows("`results.json` holds") for name in re.findall(r"`(\w+)`", row[0])}
    assert named | {"schema_version", "absent"} == set(Results.model_fields)
