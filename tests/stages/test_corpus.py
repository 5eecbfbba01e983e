"""The stage that reads text: its files by language, the source language, and what it keeps out."""

from __future__ import annotations

import pytest

from harness.errors import HarnessError
from harness.stages import corpus


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
