"""Turning the extension off changes no result beyond rounding: 200 steps of a student that uses every op."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

STEPS = 200
SCRIPT = f"""
import json
import torch
from harness import ops
torch.manual_seed(0)
draw = torch.Generator().manual_seed(1)
embed = torch.nn.Embedding(60, 16)
ffn = torch.nn.Linear(16, 48), torch.nn.Linear(48, 16)
teacher_embed, teacher_out = torch.randn(60, 16), torch.randn(60, 16)
gram, importance = ops.teacher_gram(teacher_out), torch.zeros(48)
parameters = [*embed.parameters(), *ffn[0].parameters(), *ffn[1].parameters()]
optimizer, losses = torch.optim.AdamW(parameters, lr=3e-3), []
for _ in range({STEPS}):
    ids = torch.randint(0, 60, (32,), generator=draw)
    target = torch.where(torch.rand(32, generator=draw) < 0.5, ids, -100)
    x = embed(ids)
    hidden = x + ops.linear_gelu_linear(
        x, ffn[0].weight, ffn[0].bias, ffn[1].weight, ffn[1].bias, importance=importance
    )
    taught = teacher_embed[ids].tanh()
    pair = (hidden, embed.weight, taught, teacher_out)
    weights = dict(temperature=2.0, soft_weight=0.5, hard_weight=0.5)
    loss = ops.linear_distillation_loss(*pair, target, **weights)
    loss = loss + 0.1 * ops.linear_mse_logits_loss(*pair, teacher_gram=gram)
    loss = loss + ops.hidden_state_loss([hidden], [taught], kind="cosine")
    loss = loss + 0.1 * ops.linear_cross_entropy(hidden, embed.weight, target)
    logits, aims = hidden @ embed.weight.T, taught @ teacher_out.T
    loss = loss + ops.distillation_loss(logits, aims, target, inplace_backward=True, **weights)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(float(loss.detach()))
print(json.dumps({{"ops": ops.implementation(), "losses": losses, "importance": importance.tolist()}}))
"""


def train(choice: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "HARNESS_OPS": choice, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_two_hundred_steps_end_with_equal_losses(compiled_only):
    fast, slow = train("compiled"), train("reference")
    assert (fast["ops"], slow["ops"]) == ("compiled", "reference")
    assert len(fast["losses"]) == STEPS
    assert fast["losses"][-1] < 0.7 * fast["losses"][0]
    assert fast["losses"] == pytest.approx(slow["losses"], rel=1e-4)
    assert fast["importance"] == pytest.approx(slow["importance"], rel=1e-3)
