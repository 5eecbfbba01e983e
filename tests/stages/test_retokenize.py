"""The stage that learns a vocabulary: planned shape, facts, and the text that it reads."""

from __future__ import annotations

import pytest

from harness.config.amounts import TrainingSettings
from harness.config.steps.distill import ResolvedDistill
from harness.config.steps.retokenize import ResolvedRetokenize
from harness.models.loading.checkpoint import load_checkpoint
from harness.stages import corpus, distill, retokenize


@pytest.fixture
def run_stage(corpus_config, make_context, write_teacher, tmp_path, data):
    """Return a function that learns a vocabulary, with a part of the corpus cut to three lines."""
    write_teacher(tmp_path / "teacher" / "model")

    def run(changed=None, size=50):
        text = tmp_path / f"text-{changed}"
        text.mkdir()
        corpus.run(make_context(corpus_config, {"data:corpus/mt": data / "corpus/mt"}, out=text))
        if changed:
            (path,) = text.glob(f"{changed}.*")
            path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[:3]), encoding="utf-8")
        context = make_context(
            {"held_out_length": 32},
            {"model": tmp_path / "teacher", "corpus": text},
            step=ResolvedRetokenize(vocabulary=size),
        )
        return retokenize.run(context), load_checkpoint(context.out / "model")

    return run


def test_student_has_the_planned_vocabulary(run_stage, tmp_path):
    facts, student = run_stage(size=90)
    teacher = load_checkpoint(tmp_path / "teacher" / "model")
    assert facts.shape.vocabulary == len(student.tokenizer) == student.model.config.vocab_size == 90
    assert facts.parameters == facts.shape.parameters()
    both = teacher.tokenizer.get_vocab().keys() & student.tokenizer.get_vocab().keys()
    assert facts.num_shared == len(both)
    assert 1 <= facts.tokens_per_word_after < facts.tokens_per_word_before
    assert facts.unknown_fraction_after == 0
    assert facts.held_out.loss_per_byte > 0


def test_tokens_are_not_learned_from_held_out_text(run_stage):
    vocabularies = {
        changed: run_stage(changed)[1].tokenizer.get_vocab() for changed in (None, "held_out", "train")
    }
    assert vocabularies["held_out"] == vocabularies[None] != vocabularies["train"]


def test_student_is_distilled_from_the_teacher_with_other_tokens(run_stage, make_context, tmp_path):
    before, _ = run_stage(size=90)
    training = TrainingSettings(
        tokens=600, learning_rate=1e-3, batch_tokens=96, mask_fraction=0.15, warmup_fraction=0,
        sequence_length=32, precision="fp32", seed=1,
    )  # fmt: skip
    loss = {"mlm": 0.5, "hidden_cosine": 1.0}
    step = ResolvedDistill(
        teacher="teacher", loss=loss, positions="attended", align="mean", training=training
    )
    inputs = {"model": tmp_path / "out", "teacher": tmp_path / "teacher", "corpus": tmp_path / "text-None"}
    facts = distill.run(make_context({"held_out_length": 32}, inputs, out=tmp_path / "distilled", step=step))
    assert facts.shape == before.shape
    assert 0 < facts.training.tokens < 700
    assert facts.held_out.loss < before.held_out.loss
