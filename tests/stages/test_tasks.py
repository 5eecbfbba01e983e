"""The stage that reads labelled tasks, and the reader of what it wrote."""

from __future__ import annotations

import pytest

from harness.data.folder import read_task
from harness.errors import HarnessError
from harness.stages import tasks
from harness.stages.io import artifacts
from harness.stages.io.facts import TasksFacts, to_json


def test_missing_task_is_an_error(data, make_context):
    config = {"source": "folder", "language": "mt", "names": ["topic"], "sizes": [None] * 3, "seed": 1}
    (data / "topic/mt/train.tsv").unlink()
    with pytest.raises(HarnessError, match=r"tasks: expected 'topic' in 'mt'; .*has no train.tsv"):
        tasks.run(make_context(config, {"data:topic/mt": data / "topic/mt"}))


def test_task_is_learned_in_one_language_and_tested_in_another(data, make_context):
    config = {"source": "folder", "language": "mt", "names": ["topic"], "sizes": [None] * 3, "seed": 1}
    inputs = {f"data:topic/{one}": data / "topic" / one for one in ("mt", "sw")}
    context = make_context(config | {"task_language": "sw"}, inputs)
    facts = tasks.run(context).root["topic"]
    moved = artifacts.read_task(make_context({}, {"tasks": context.out}), "topic")
    own, other = (read_task(data, "topic", one) for one in ("mt", "sw"))
    assert (moved.language, moved.test) == ("mt", own.test)
    assert (moved.train, moved.dev, moved.labels) == (other.train, other.dev, other.labels)
    assert facts.notes == ["train and dev are those of 'sw'"]
    for part in ("train", "dev", "test"):
        path = data / f"topic/mt/{part}.tsv"
        path.write_text(path.read_text(encoding="utf-8").replace("\todd", "\tstrange"), encoding="utf-8")
    message = (
        r"^topic: expected in 'mt' only labels of the training part in 'sw' \(even, odd\); got 'strange'"
    )
    with pytest.raises(HarnessError, match=message):
        tasks.run(make_context(config | {"task_language": "sw"}, inputs, out=data.parent / "strange"))


def write_names(data, test):
    """Write the task ``ner`` with one sentence in train and dev."""
    (data / "ner/mt").mkdir(parents=True)
    for part in ("train", "dev", "test"):
        text = test if part == "test" else "Ana\tB-PER\nKos\tI-PER\nhi\tO\n"
        (data / f"ner/mt/{part}.conll").write_text(text, encoding="utf-8")


def test_facts_have_notes_and_repeats(data, make_context):
    write_names(data, "hi\tO\nAna\tI-PER\n\nhi\tO\nAna\tO\n\nhi\tO\nAna\tO\n")
    config = {"source": "folder", "language": "mt", "names": ["ner"], "sizes": [None] * 3, "seed": 1}
    inputs = {"data:ner/mt": data / "ner/mt"}
    facts = tasks.run(make_context(config, inputs)).root["ner"]
    note = "tags I- that open an entity, read as B-: 1, the first 'I-PER' after 'O' at ner/mt/test.conll:2"
    assert facts.notes == [note]
    assert {part: tuple(one.model_dump().values()) for part, one in facts.repeats.items()} == {
        "train": (0, 0),
        "dev": (0, 0),
        "test": (2, 3),
    }
    strict = make_context(config | {"strict": True}, inputs, out=data.parent / "strict")
    with pytest.raises(HarnessError, match=r"test.conll:2: expected an IOB2 tag .*; got 'I-PER' after 'O'"):
        tasks.run(strict)


def test_facts_without_repeats_are_read_and_written_unchanged():
    old = {
        "ner": {
            "train": 1, "dev": 1, "test": 1, "labels": ["O"], "leakage": {"dev": 0, "test": 0}, "notes": [],
            "provenance": {},
        }
    }  # fmt: skip
    assert to_json(TasksFacts.model_validate(old)) == old


def test_reading_an_unwritten_task_names_the_stage(make_context, tmp_path):
    with pytest.raises(
        HarnessError, match=r"ner: expected ner.json from the stage 'tasks'; got none; run that stage"
    ):
        artifacts.read_task(make_context({}, {"tasks": tmp_path}), "ner")
