"""Several processes train as one does: the same losses and weights, also where one is killed."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.models.loading import checkpoint
from harness.train.finetuning.distillation import TaskDistillation
from harness.train.finetuning.protocol import Protocol
from harness.train.losses.objective import MLM, Objective

HERE = Path(__file__).parent
PROTOCOL = Protocol(
    epochs=2, learning_rate=5e-3, batch_size=7, warmup_fraction=0.1, weight_decay=0.01, max_length=16,
    precision="fp32", dropout=0.0,
)  # fmt: skip
EVERY_KIND = {"mlm": 0.5, "logit_mse": 0.5, "hidden_mse": 1.0, "patient": 1.0, "attention_mse": 1.0}
"""Losses that are means over labels, compared positions, attended positions, rows and pairs."""
STEPS = 20
NO_GRADIENT = "attention.self.key.bias"
"""A softmax does not depend on it: its gradient is nothing but the rounding of sums, which Adam enlarges."""


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory, request):
    """Train every case alone and in several processes; return figures and weights by phase, case and rank."""
    folder = tmp_path_factory.mktemp("processes")
    given = map(request.getfixturevalue, ("make_model", "make_budget", "tokenizer", "packed"))
    tasks = map(request.getfixturevalue, ("tagged", "sorted_texts"))
    (folder / "phases.pickle").write_bytes(pickle.dumps(plan_phases(folder, *given, tasks=tasks)))
    done = subprocess.run(
        [sys.executable, HERE / "run_processes.py", folder],
        env=os.environ | {"PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = {path.stem: torch.load(path, weights_only=False) for path in folder.glob("*.pt")}
    return outcomes | {"printed": done.stdout.splitlines()}


def plan_phases(folder, make_model, make_budget, tokenizer, packed, *, tasks):
    for name, model in {"student": make_model(), "teacher": make_model(seed=9)}.items():
        checkpoint.save_checkpoint(model, tokenizer, folder / name)
    budget = make_budget(batch_tokens=96, tokens=1700, dropout=0.0)
    corpus = {"model": folder / "student", "packed": packed}
    adapt = corpus | {"objective": MLM, "budget": budget}
    distill = corpus | {
        "teacher": folder / "teacher",
        "objective": Objective(EVERY_KIND, "attended"),
        "budget": replace(budget, device_tokens=48),
    }
    tagged, texts = ({"model": folder / "student", "protocol": PROTOCOL, "data": one} for one in tasks)
    centred = distill | {
        "objective": Objective({"mlm": 0.5, "centred_cosine": 1.0, "sentence_cosine": 1.0}),
        "budget": replace(budget, device_tokens=48, tokens=600),
    }
    taught = TaskDistillation((folder / "teacher",), {"labels": 0.5, "class_mse": 0.5, "feature_mse": 1.0})
    cases = [
        {"name": "adapt", **adapt},
        {"name": "distill", **distill},
        {"name": "centred", **centred},
        {"name": "tokens", **tagged, "distillation": taught},
        {"name": "texts", **texts},
    ]
    killed = {"name": "killed", **adapt, "budget": replace(budget, checkpoint_s=0.0)}
    return [
        {"size": 1, "cases": cases},
        {"size": 2, "cases": cases},
        {"size": 3, "cases": cases[1:3]},
        {"size": 2, "cases": [killed | {"killed": (1, 3)}]},
        {"size": 1, "cases": [killed | {"killed": (0, 6)}]},
        {"size": 2, "cases": [killed | {"budget": budget}]},
    ]


def assert_close(one, two):
    """Check that weights differ by 1e-6 at most, but for those without a gradient."""
    assert one.keys() == two.keys()
    for name in one:
        if NO_GRADIENT not in name:
            torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["1-adapt", "1-distill", "1-centred", "2-distill", "2-centred"])
def test_losses_and_weights_equal_those_of_one_process(outcomes, name):
    (facts, weights), (alone, expected) = outcomes[f"{name}-0"], outcomes[f"0{name[1:]}-0"]
    losses, usual = ([entry["loss"] for entry in each["losses"]] for each in (facts, alone))
    assert len(losses) >= (STEPS if "centred" not in name else 5)
    assert losses == pytest.approx(usual, abs=1e-6)
    assert facts["tokens"] == alone["tokens"]
    assert_close(weights, expected)


@pytest.mark.parametrize("name", ["tokens", "texts"])
def test_finetuning_equals_that_of_one_process(outcomes, name):
    (facts, weights), (alone, expected) = outcomes[f"1-{name}-0"], outcomes[f"0-{name}-0"]
    assert facts == alone
    assert_close(weights, expected)


@pytest.mark.parametrize("name", ["1-adapt", "1-distill", "1-centred", "1-tokens", "1-texts", "2-distill"])
def test_all_processes_end_with_the_same_weights(outcomes, name):
    one, two = (outcomes[f"{name}-{rank}"][1] for rank in (0, 1))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_killed_process_ends_the_others_and_any_number_resumes(outcomes):
    lost, *phases = sorted(outcomes["printed"])
    assert lost.startswith("LostProcessError: processes: expected 2 that go on; got a lost connection")
    assert phases[3:] == ["phase 3: [1, -9]", "phase 4: [-9]", "phase 5: [0, 0]"]
    facts, weights = outcomes["5-killed-0"]
    assert facts["resumed"]
    assert_close(weights, outcomes["0-adapt-0"][1])
