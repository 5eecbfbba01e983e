"""The stage that adapts a part of the weights: how many move, which, and what a kill leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from harness.config.amounts import TrainingSettings
from harness.config.steps.adapt import ResolvedAdapt
from harness.stages import adapt, corpus
from harness.stages.io.artifacts import make_budget

AMOUNT = TrainingSettings(
    tokens=1200, learning_rate=5e-3, batch_tokens=192, mask_fraction=0.2, warmup_fraction=0,
    sequence_length=32, precision="fp32", seed=1,
)  # fmt: skip
DENSITY = 0.05


class CutError(Exception):
    """A simulated kill."""


@pytest.fixture(autouse=True)
def _write_every_checkpoint(monkeypatch):
    monkeypatch.setattr(
        adapt, "make_budget", lambda *given, **_: replace(make_budget(*given), checkpoint_s=0.0)
    )


@pytest.fixture
def run_stage(corpus_config, make_context, write_teacher, tmp_path, data):
    """Return a function that adapts a teacher, whole or interrupted after some steps."""
    teacher = write_teacher(tmp_path / "teacher" / "model").parent
    text = make_context(corpus_config, {"data:corpus/mt": data / "corpus/mt"}, tmp_path / "corpus")
    corpus.run(text)

    def run(folder, density=DENSITY, cut_at=None):
        done = []

        def progress(*reported):
            done.append(reported)
            if len(done) == cut_at:
                raise CutError

        context = make_context(
            {"held_out_length": 32},
            {"model": teacher, "corpus": text.out},
            out=tmp_path / folder,
            progress=progress,
            step=ResolvedAdapt(training=AMOUNT, density=density),
        )
        facts = adapt.run(context)
        return load_file(context.out / "model" / "model.safetensors"), facts, len(done)

    run.start = lambda: load_file(teacher / "model" / "model.safetensors")
    return run


def test_the_chosen_share_of_the_weights_moves(run_stage):
    start, (adapted, facts, steps) = run_stage.start(), run_stage("sparse")
    whole, dense, whole_steps = run_stage("dense", density=None)
    moved = {name: adapted[name] != value for name, value in start.items()}
    number, size = sum(int(one.sum()) for one in moved.values()), sum(map(torch.numel, start.values()))
    assert 0.8 * DENSITY * size < number <= round(DENSITY * size)
    assert steps == 2 * whole_steps == facts.training.steps
    assert facts.training.tokens == 2 * dense.training.tokens
    distance = torch.cat([(whole[name] - value).abs().flatten() for name, value in start.items()])
    chosen = torch.cat([one.flatten() for one in moved.values()])
    assert distance[chosen].min() >= distance[~chosen].median(), "those that moved most move again"


def test_killed_sparse_adaptation_ends_like_an_undisturbed_one(run_stage):
    whole, facts, steps = run_stage("whole")
    for cut_at in (2, steps - 4):
        with pytest.raises(CutError):
            run_stage("cut", cut_at=cut_at)
    resumed, last, left = run_stage("cut")
    assert left < steps // 2, "all weights were trained by then"
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert last.training.tokens == facts.training.tokens
    assert (last.training.resumed, last.training.tokens_per_s) == (True, None)
