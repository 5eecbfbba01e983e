"""The step that starts from random weights: its shape, its embeddings, its tokenizer."""

from __future__ import annotations

import pytest
import torch

from harness.config.shape import Shape
from harness.config.steps.blank import ResolvedBlank
from harness.models.loading import checkpoint
from harness.stages import blank, corpus

EMBEDDINGS = "bert.embeddings."


@pytest.fixture
def drawn(tmp_path, corpus_config, make_context, write_data, write_teacher):
    """Run the step on a small teacher; return the teacher, the student and the facts."""
    data = write_data(tmp_path / "data")
    written = make_context(
        corpus_config,
        {"data:corpus/mt": data / "corpus/mt"},
        tmp_path / "corpus",
    )
    corpus.run(written)
    write_teacher(tmp_path / "teacher" / "model")
    teacher = checkpoint.load_checkpoint(tmp_path / "teacher" / "model")

    def drawn(embeddings, hidden, seed=3):
        shape = Shape(
            family="bert", layers=1, hidden=hidden, heads=2, ffn=12, vocabulary=60, positions=48, types=2
        )
        step = ResolvedBlank(shape=shape, embeddings=embeddings, seed=seed)
        out = tmp_path / f"{embeddings}{hidden}{seed}"
        inputs = {"model": tmp_path / "teacher", "corpus": tmp_path / "corpus"}
        context = make_context({"held_out_length": 32}, inputs, out, step=step)
        facts = blank.run(context)
        return teacher, checkpoint.load_checkpoint(out / "model"), facts

    return drawn


def test_student_has_the_requested_shape_and_the_teachers_tokenizer(drawn):
    teacher, student, facts = drawn("random", 8)
    assert (facts.shape.layers, facts.shape.hidden, facts.shape.ffn) == (1, 8, 12)
    assert student.tokenizer.get_vocab() == teacher.tokenizer.get_vocab()
    assert student.model.config.pad_token_id == teacher.model.config.pad_token_id
    assert facts.held_out.loss == pytest.approx(4.09, abs=0.4), "ln 60: it knows nothing"


def test_seed_decides_the_weights(drawn):
    states = [drawn("random", 8, seed)[1].model.state_dict() for seed in (3, 4)]
    again = drawn("random", 8, 3)[1].model.state_dict()
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(states[0][name], again[name])
    assert not torch.equal(states[0][name], states[1][name])


def test_only_the_embeddings_are_copied_from_the_teacher(drawn):
    teacher, student, _ = drawn("copied", 16)
    theirs, mine = teacher.model.state_dict(), student.model.state_dict()
    same = {name for name in mine if torch.equal(mine[name], theirs[name])}
    assert {name for name in mine if name.startswith(EMBEDDINGS)} <= same
    learnt = {name for name in mine if name.endswith("weight") and "Norm" not in name}
    assert {name for name in learnt & same if not name.startswith(EMBEDDINGS)} <= {
        "cls.predictions.decoder.weight"
    }, "tied to the embeddings"
