"""The stage that reads text: its files by language, the source language, and what it keeps out."""

from __future__ import annotations

import pytest

from harness.data.examples import TaskData, TextExample
from harness.errors import HarnessError
from harness.stages import corpus
from harness.stages.io.artifacts import write_task
from harness.stages.io.facts import CorporaFacts, to_json
from harness.tasks import TASKS


def test_one_document_cannot_be_split(corpus_config, data, make_context):
    (data / "corpus/mt/text.txt").write_text("kadin mifa\ntoki numo\n", encoding="utf-8")
    context = make_context(corpus_config, {"data:corpus/mt": data / "corpus/mt"})
    with pytest.raises(
        HarnessError, match=r"expected at least two documents in 'mt', .*; got 1; add text, or separate"
    ):
        corpus.run(context)


def test_each_of_several_languages_gets_a_folder(corpus_config, data, make_context):
    config = corpus_config | {"languages": ["mt", "sw"], "excluded_tasks": {"mt": ["topic"], "sw": []}}
    names = ("corpus/mt", "corpus/sw", "topic/mt")
    context = make_context(config, {f"data:{name}": data / name for name in names})
    facts = corpus.run(context)
    written = {path.relative_to(context.out).as_posix() for path in context.out.rglob("*.txt")}
    assert written == {
        f"{language}/{part}.txt" for language in ("mt", "sw") for part in ("train", "held_out")
    }
    assert set(facts.root) == {"mt", "sw"}


def test_texts_of_training_parts_are_added_without_those_that_are_scored(corpus_config, data, make_context):
    lines = {part: [f"{part} {number} kadin" for number in range(40)] for part in ("train", "test")}
    labelled = data.parent / "tasks"
    labelled.mkdir()
    texts = {part: tuple(TextExample(line, "even") for line in lines[part]) for part in lines}
    texts["train"] += (TextExample(lines["test"][0], "even"),)
    write_task(labelled / "topic.json", TaskData(TASKS["topic"], "mt", ("even",), dev=(), **texts))
    (labelled / "manifest.json").write_text("{}", encoding="utf-8")
    rows = "".join(f"{line}\teven\n" for line in lines["test"])
    (data / "topic/mt/test.tsv").write_text(f"text\tlabel\n{rows}", encoding="utf-8")
    names = ("corpus/mt", "topic/mt/dev.tsv", "topic/mt/test.tsv")
    inputs = {f"data:{name}": data / name for name in names}
    config = corpus_config | {"excluded_tasks": {"mt": ["topic"]}}
    plain = make_context(config, inputs, out=data.parent / "plain")
    added = make_context(config, inputs | {"tasks": labelled}, out=data.parent / "added")
    assert not corpus.run(plain).root["mt"].task_texts
    assert corpus.run(added).root["mt"].task_texts == {"topic": 41}
    before, after = (
        {line for path in context.out.glob("*.txt") for line in path.read_text("utf-8").splitlines()}
        for context in (plain, added)
    )
    assert after - before == set(lines["train"])
    assert not after & set(lines["test"])


def test_source_language_is_mixed_in_equal_parts(corpus_config, data, make_context):
    config = corpus_config | {"source_language": "sw", "excluded_tasks": {"mt": [], "sw": []}}
    config["held_out_fraction"] = 0.6  # Swahili has more text than is mixed in
    for place in ("mt", "sw"):
        text = data / "corpus" / place / "text.txt"
        more = "" if place == "mt" else "".join(f"\n{place} neno{number}\n" for number in range(300))
        lines = text.read_text(encoding="utf-8").split("\n")
        named = "\n".join(f"{place} {line}" if line else "" for line in lines)
        text.write_text(named + more, encoding="utf-8")
    inputs = {f"data:corpus/{place}": data / "corpus" / place for place in ("mt", "sw")}
    mixed = make_context(config, inputs, out=data.parent / "mixed")
    alone = make_context({key: value for key, value in config.items() if key != "source_language"}, inputs)
    facts = corpus.run(mixed)
    corpus.run(alone)
    lines = (mixed.out / "train.txt").read_text(encoding="utf-8").split("\n")
    own = [line for line in lines if line.startswith("mt ")]
    assert own == [line for line in (alone.out / "train.txt").read_text("utf-8").split("\n") if line]
    num_mixed_in = sum(line.startswith("sw ") for line in lines)
    assert len(own) - 3 <= num_mixed_in <= len(own)
    assert {line[:2] for line in lines[:4] if line} == {"mt", "sw"}
    assert (mixed.out / "held_out.txt").read_bytes() == (alone.out / "held_out.txt").read_bytes()
    assert set(facts.root) == {"mt", "sw"}


@pytest.mark.parametrize("read", [{"languages": ["mt", "sw"]}, {"source_language": "sw"}])
def test_scored_text_of_one_language_is_dropped_from_all(read, corpus_config, data, make_context):
    scored = (data / "topic/mt/test.tsv").read_text(encoding="utf-8").splitlines()[1].split("\t")[0]
    other = data / "corpus/sw/text.txt"
    other.write_text(f"{scored}\n\nneno moja\n\nneno mbili\n\nneno tatu\n", encoding="utf-8")
    names = ("corpus/mt", "corpus/sw", "topic/mt/dev.tsv", "topic/mt/test.tsv")
    context = make_context(
        corpus_config | read | {"excluded_tasks": {"mt": ["topic"], "sw": []}},
        {f"data:{name}": data / name for name in names},
    )
    facts = corpus.run(context)
    written = [path.read_text(encoding="utf-8").splitlines() for path in context.out.rglob("*.txt")]
    assert not any(scored in lines for lines in written)
    assert facts.root["sw"].excluded == 1


def test_held_out_lines_are_not_mixed_in_from_source_language(corpus_config, data, make_context):
    own = (data / "corpus/mt/text.txt").read_text(encoding="utf-8")
    config = corpus_config | {"source_language": "sw", "held_out_fraction": 0.3}
    lines = "\n\n".join(line for line in own.splitlines() if line)  # a document each: split by another hash
    (data / "corpus/sw/text.txt").write_text(f"neno moja\n\n{lines}\n", encoding="utf-8")
    context = make_context(
        config | {"excluded_tasks": {"mt": [], "sw": []}},
        {f"data:corpus/{place}": data / "corpus" / place for place in ("mt", "sw")},
    )
    corpus.run(context)
    train, held_out = (
        {line for line in (context.out / f"{part}.txt").read_text(encoding="utf-8").splitlines() if line}
        for part in ("train", "held_out")
    )
    assert held_out
    assert not train & held_out


def test_unreadable_task_is_a_warning_and_its_readable_part_is_kept_out(corpus_config, data, make_context):
    lines = (data / "corpus/mt/text.txt").read_text(encoding="utf-8").splitlines()
    scored = next(line for line in lines if line)
    (data / "topic/mt/train.tsv").write_text("no header\n", encoding="utf-8")
    (data / "topic/mt/dev.tsv").write_text("no header\n", encoding="utf-8")
    (data / "topic/mt/test.tsv").write_text(f"text\tlabel\n{scored}\tx\n", encoding="utf-8")
    names = ("corpus/mt", "topic/mt/dev.tsv", "topic/mt/test.tsv")
    config = corpus_config | {"excluded_tasks": {"mt": ["topic"]}}
    context = make_context(config, {f"data:{name}": data / name for name in names})
    facts = corpus.run(context).root["mt"]
    reason = "dev.tsv:1: expected the header 'text<TAB>label'; got 'no header'"
    assert list(facts.unread_tasks) == ["topic/mt/dev"]
    assert reason in facts.unread_tasks["topic/mt/dev"]
    assert facts.excluded >= 1
    written = "".join(path.read_text(encoding="utf-8") for path in context.out.rglob("*.txt"))
    assert scored not in written.splitlines()


def test_facts_of_readable_tasks_name_no_unread_task(corpus_config, data, make_context):
    context = make_context(corpus_config, {"data:corpus/mt": data / "corpus/mt"})
    facts = to_json(corpus.run(context))
    assert "unread_tasks" not in facts["mt"]
    assert to_json(CorporaFacts.model_validate(facts)) == facts


def test_task_of_the_hub_that_cannot_be_read_is_an_error(corpus_config, data, make_context, monkeypatch):
    def fail(*_):
        raise HarnessError("hub: expected an answer; got none")

    monkeypatch.setattr(corpus, "open_task", fail)
    config = corpus_config | {"tasks_source": "hub", "excluded_tasks": {"mt": ["topic"]}}
    with pytest.raises(HarnessError, match="hub: expected an answer"):
        corpus.run(make_context(config, {"data:corpus/mt": data / "corpus/mt"}))
