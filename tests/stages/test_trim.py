"""The stage that trims by a rule, and by the text of several languages: shape, facts, and what follows it."""

from __future__ import annotations

import pytest

from harness.config.shape import Shape
from harness.config.steps.blank import ResolvedBlank
from harness.config.steps.trim import ResolvedTrim
from harness.data import corpus as text
from harness.models.loading.checkpoint import load_checkpoint
from harness.models.tokenizers import count_tokens, select_by_probability
from harness.stages import blank, corpus, trim

HELD_OUT = {"held_out_length": 32}


@pytest.fixture
def inputs(corpus_config, make_context, write_teacher, tmp_path, data):
    """Return the folders of a teacher, of Maltese text, and of Swahili text."""
    write_teacher(tmp_path / "teacher" / "model")
    for code in ("mt", "sw"):
        config = corpus_config | {"languages": [code], "excluded_tasks": {code: []}}
        corpus.run(make_context(config, {f"data:corpus/{code}": data / "corpus" / code}, tmp_path / code))
    return {"model": tmp_path / "teacher", "corpus": tmp_path / "mt", "corpora": tmp_path / "sw"}


def read_lines(folder):
    return [line for document in text.read(folder, "train") for line in document]


def test_rule_decides_the_shape_up_to_the_most(inputs, make_context, tmp_path):
    sizes = {}
    for most in (60, 40):
        step = ResolvedTrim(vocabulary=most, rule="probability", share=0.02, languages=("sw",))
        context = make_context(HELD_OUT, inputs, tmp_path / f"trim-{most}", step=step)
        facts, trimmed = trim.run(context), load_checkpoint(context.out / "model")
        assert facts.shape.vocabulary == len(trimmed.tokenizer) == trimmed.model.config.vocab_size
        assert facts.certificate["num_words_altered"] == 0
        sizes[most] = facts.shape.vocabulary
    assert sizes[40] == 40 <= sizes[60] <= 60
    tokenizer = load_checkpoint(tmp_path / "teacher" / "model").tokenizer
    kept = load_checkpoint(tmp_path / "trim-60" / "model").tokenizer.get_vocab()
    for role in ("corpus", "corpora"):
        used = select_by_probability(count_tokens(tokenizer, read_lines(inputs[role])), 0.02)
        assert set(tokenizer.convert_ids_to_tokens(used)) <= kept.keys(), "what either language uses"


def test_blank_student_has_the_tokens_that_were_kept(inputs, make_context, tmp_path):
    """The planned number is the most that the rule may keep."""
    step = ResolvedTrim(vocabulary=60, rule="coverage", share=0.5)
    kept = trim.run(make_context(HELD_OUT, inputs, tmp_path / "trim", step=step)).shape.vocabulary
    assert kept < 60
    shape = Shape(family="bert", layers=1, hidden=8, heads=2, ffn=12, vocabulary=60, positions=48, types=2)
    context = make_context(
        HELD_OUT,
        {"model": tmp_path / "trim", "corpus": inputs["corpus"]},
        tmp_path / "blank",
        step=ResolvedBlank(shape=shape, embeddings="random", seed=1),
    )
    assert blank.run(context).shape.vocabulary == kept
