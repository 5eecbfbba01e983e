"""The stage that trims the vocabulary: which text it counts."""

from __future__ import annotations

import pytest

from harness.config.steps.trim import ResolvedTrim
from harness.data.examples import TaskData, TextExample
from harness.models.loading import checkpoint
from harness.stages import corpus, trim
from harness.stages.io.artifacts import write_task
from harness.tasks import TASKS


@pytest.fixture
def inputs(corpus_config, make_context, write_teacher, tmp_path, data):
    """Return the inputs of the stage: a corpus of one line, and a task with the vocabulary's last words."""
    write_teacher(tmp_path / "teacher" / "model")
    teacher = checkpoint.load_checkpoint(tmp_path / "teacher" / "model")[1]
    (tmp_path / "text").mkdir()
    corpus.run(make_context(corpus_config, {"data:corpus/mt": data / "corpus/mt"}, out=tmp_path / "text"))
    (path,) = (tmp_path / "text").glob("train.*")
    path.write_text("a\n", encoding="utf-8")
    (tmp_path / "tasks").mkdir()
    train, test = list_last_words(teacher, 2)
    parts = {"train": (TextExample(train, "even"),), "test": (TextExample(test, "even"),)}
    task = TaskData(TASKS["topic"], "mt", ("even",), dev=(), **parts)
    write_task(tmp_path / "tasks" / "topic.json", task)
    (tmp_path / "tasks" / "manifest.json").write_text("{}", encoding="utf-8")
    return {"model": tmp_path / "teacher", "corpus": tmp_path / "text", "tasks": tmp_path / "tasks"}


def keep_words(context):
    """Return the tokens of the vocabulary that the stage keeps."""
    trim.run(context)
    return set(checkpoint.load_checkpoint(context.out / "model")[1].get_vocab())


def list_last_words(tokenizer, number):
    """Return the whole words with the highest ids, which go first where all are equally rare."""
    ids = tokenizer.get_vocab()
    return sorted((word for word in ids if word.isalnum() and len(word) > 4), key=ids.__getitem__)[-number:]


def test_words_of_training_parts_count_where_the_step_says_so(inputs, make_context):
    teacher = checkpoint.load_checkpoint(inputs["model"] / "model")[1]
    train, test = list_last_words(teacher, 2)
    kept = {}
    for reads_tasks in (False, True):
        step = ResolvedTrim(vocabulary=40, reads_tasks=reads_tasks)
        out = inputs["tasks"].parent / f"out-{reads_tasks}"
        out.mkdir()
        kept[reads_tasks] = keep_words(make_context({"held_out_length": 32}, inputs, out=out, step=step))
    assert {train, test} <= set(teacher.get_vocab()) - kept[False]
    assert train in kept[True]
    assert test not in kept[True]
