"""The stage that trains a teacher: interrupted at any point, and with one language."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from harness.config.load import load_scale
from harness.plans.run_inputs import plan_pretraining
from harness.stages import corpus
from harness.stages import pretrain as pretraining
from harness.stages.io.artifacts import make_budget


class CutError(Exception):
    """A simulated kill."""


def make_budget_with_all_checkpoints(settings, checkpoint_s=None):
    """Return a budget by which a checkpoint is written after every step."""
    return replace(make_budget(settings), checkpoint_s=0.0)


@pytest.fixture
def pretrain(tmp_path, write_scale, make_context, data, monkeypatch):
    """Run the stage that trains a teacher, whole or interrupted after some steps."""
    shallow = {"layers": 1, "tokens": 1500, "learning_rate": 2e-3}
    changes = {
        "teacher.pretrain.shallow": shallow,
        "teacher.pretrain.tokens": 1500,
        "teacher.pretrain.vocabulary": 60,
    }
    changes |= {"teacher.pretrain.languages": ["mt", "sw"]}
    scale = load_scale(write_scale(tmp_path, changes)).with_data(str(data))
    corpora, teacher = plan_pretraining(scale)
    text = make_context(dict(corpora.config), dict(corpora.inputs), out=tmp_path / "corpora")
    corpus.run(text)

    def run(folder, cut_at=None):
        done = []

        def progress(*reported):
            done.append(reported)
            if len(done) == cut_at:
                raise CutError

        context = make_context(
            dict(teacher.config),
            {"corpora": text.out},
            out=tmp_path / folder,
            progress=progress,
            step=teacher.step,
        )
        with monkeypatch.context() as patch:
            if cut_at:
                patch.setattr(pretraining, "make_budget", make_budget_with_all_checkpoints)
            facts = pretraining.run(context)
        return context.out, facts, len(done)

    return run


def test_interrupted_training_ends_like_an_uninterrupted_one(pretrain):
    whole, facts, steps = pretrain("whole")
    with pytest.raises(CutError):
        pretrain("cut", cut_at=5)
    with pytest.raises(CutError):
        pretrain("cut", cut_at=steps - 15)
    last, resumed, left = pretrain("cut")
    assert left < 15
    one, other = (load_file(out / "model" / "model.safetensors") for out in (whole, last))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert resumed.shape == facts.shape
    assert resumed.shape.layers == 2
    tokens = sum(half.tokens for half in facts.training.halves)
    assert facts.training.tokens == resumed.training.tokens == tokens
    assert (facts.training.resumed, resumed.training.resumed) == (False, True)
    assert facts.training.tokens_per_s > 0
    assert resumed.training.tokens_per_s is None


def test_teacher_of_one_language_finds_its_text(tmp_path, write_scale, make_context, data):
    changes = {
        "teacher.pretrain.languages": ["mt"],
        "teacher.pretrain.tokens": 200,
        "teacher.pretrain.vocabulary": 60,
    }
    scale = load_scale(write_scale(tmp_path, changes)).with_data(str(data))
    corpora, teacher = plan_pretraining(scale)
    text = make_context(dict(corpora.config), dict(corpora.inputs), out=tmp_path / "corpora")
    corpus.run(text)
    context = make_context(dict(teacher.config), {"corpora": text.out}, step=teacher.step)
    assert pretraining.run(context).parameters
