"""Each loss is its formula over the full logits, computed here the long way; padding plays no part."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from harness.config.losses import DISTILL_LOSSES, LOSSES, TASK_LOSSES
from harness.errors import HarnessError
from harness.train.losses import task
from harness.train.losses.inputs import FUNCTIONS
from harness.train.losses.objective import MLM, Objective, compute_teacher_gram, total_loss

OUTPUT_LOSSES = ("mlm", "logit_mse", "logit_kl", "logit_ce", "hidden_cosine", "hidden_mse")
"""The losses of a model's outputs; test_train_layer_losses.py has those of its inner layers."""


def make_objective(weights, positions="attended"):
    """Return an objective with every setting that its losses may need."""
    return Objective(weights, positions, 2.0, relation_split=2)


FAMILIES = ("bert", "xlm-roberta")


def shift_for(family, batch):
    """XLM-R pads with 1: the made-up batch's 0 and 1 change places."""
    if family == "bert":
        return batch
    ids_BL = batch["input_ids"]
    return batch | {"input_ids": torch.where(ids_BL == 0, 1, ids_BL)}


def run_model(model, batch):
    """Return every logit (B × L × V) and last hidden state (B × L × D), as the stock class computes them."""
    outputs = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True
    )
    return outputs.logits, outputs.hidden_states[-1]


def by_hand(name, student, teacher, batch, *, positions, temperature=2.0):
    """The formula of one loss, over all positions of a batch at once."""
    logits_BLV, hidden_BLD = run_model(student, batch)
    with torch.no_grad():
        teacher_logits_BLV, teacher_hidden_BLD = run_model(teacher, batch)
    attended_BL, masked_BL = batch["attention_mask"].bool(), batch["labels"] != -100
    if name == "mlm":
        return functional.cross_entropy(logits_BLV[masked_BL], batch["labels"][masked_BL])
    if name == "hidden_cosine":
        return (1 - functional.cosine_similarity(hidden_BLD, teacher_hidden_BLD, dim=-1))[attended_BL].mean()
    if name == "hidden_mse":
        return ((hidden_BLD - teacher_hidden_BLD)[attended_BL] ** 2).mean()
    chosen_BL = attended_BL if positions == "attended" else masked_BL
    logits_NV, teacher_NV = logits_BLV[chosen_BL], teacher_logits_BLV[chosen_BL]
    if name == "logit_mse":
        return ((logits_NV - teacher_NV) ** 2).sum() / (chosen_BL.sum() * logits_NV.shape[1])
    soft_NV = functional.softmax(teacher_NV / temperature, -1)
    if name == "logit_ce":
        return -(soft_NV * functional.log_softmax(logits_NV / temperature, -1)).sum(-1).mean()
    divergence = torch.nn.KLDivLoss(reduction="batchmean")
    return divergence(functional.log_softmax(logits_NV / temperature, -1), soft_NV) * temperature**2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("positions", ["attended", "masked"])
@pytest.mark.parametrize("name", OUTPUT_LOSSES)
def test_output_loss_equals_its_formula_and_gradient(name, positions, family, make_model, batch):
    batch = shift_for(family, batch)
    student, teacher = make_model(family, seed=1), make_model(family, seed=2)
    objective = make_objective({name: 1.0}, positions)
    loss, parts = total_loss(objective, student, teacher, batch)
    expected = by_hand(name, student, teacher, batch, positions=positions)
    torch.testing.assert_close(loss, expected, rtol=2e-5, atol=1e-7)
    torch.testing.assert_close(parts[name], expected.detach(), rtol=2e-5, atol=1e-7)
    parameters = list(student.parameters())
    actual = torch.autograd.grad(loss, parameters, allow_unused=True)
    correct = torch.autograd.grad(expected, parameters, allow_unused=True)
    for one, other in zip(actual, correct, strict=True):
        zero = torch.zeros(())
        torch.testing.assert_close(
            zero if one is None else one, zero if other is None else other, rtol=1e-3, atol=1e-6
        )


def test_a_teacher_gram_given_beforehand_changes_no_loss(make_model, batch):
    student, teacher = make_model(seed=1), make_model(seed=2)
    objective = Objective({"logit_mse": 1.0}, "attended")
    gram = compute_teacher_gram(objective, teacher)
    loss, _ = total_loss(objective, student, teacher, batch, gram)
    torch.testing.assert_close(loss, total_loss(objective, student, teacher, batch)[0], rtol=0, atol=0)
    doubled = gram._replace(product=gram.product * 2)
    assert total_loss(objective, student, teacher, batch, doubled)[0] != loss
    assert compute_teacher_gram(Objective({"mlm": 0.5, "hidden_mse": 0.5}), teacher) is None
    assert compute_teacher_gram(objective, None) is None


def test_mlm_equals_the_loss_of_the_stock_class(make_model, batch):
    model = make_model()
    torch.testing.assert_close(total_loss(MLM, model, None, batch)[0], model(**batch).loss)


def test_a_shift_of_all_logits_shows_in_mse_and_not_in_kl(make_model, batch):
    student, teacher = make_model(), make_model()
    with torch.no_grad():
        student.cls.predictions.bias += 0.5
    objective = Objective({"logit_mse": 1.0, "logit_kl": 1.0}, "attended", 3.0)
    _, parts = total_loss(objective, student, teacher, batch)
    assert float(parts["logit_mse"]) == pytest.approx(0.25, abs=1e-5)
    assert float(parts["logit_kl"]) == pytest.approx(0.0, abs=1e-5)


def test_losses_are_zero_where_student_equals_teacher(make_model, batch):
    names = [name for name in DISTILL_LOSSES if name not in {"mlm", "logit_ce"}]
    objective = make_objective(dict.fromkeys(names, 1.0))
    loss, _ = total_loss(objective, make_model(), make_model(), batch)
    assert abs(loss.item()) < 1e-5


def test_total_loss_is_the_weighted_sum(make_model, batch):
    weights = {"mlm": 0.3, "logit_mse": 0.5, "logit_kl": 0.2, "hidden_cosine": 2.0, "hidden_mse": 0.1}
    loss, parts = total_loss(Objective(weights, "attended", 2.0), make_model(), make_model(seed=2), batch)
    assert set(parts) == set(weights)
    assert loss.item() == pytest.approx(sum(weight * float(parts[name]) for name, weight in weights.items()))
    assert not any(part.requires_grad for part in parts.values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", DISTILL_LOSSES)
def test_padding_changes_no_loss(name, family, make_model, batch):
    batch = shift_for(family, batch)
    pad = 0 if family == "bert" else 1
    wider = {
        "input_ids": functional.pad(batch["input_ids"], (0, 7), value=pad),
        "attention_mask": functional.pad(batch["attention_mask"], (0, 7)),
        "labels": functional.pad(batch["labels"], (0, 7), value=-100),
    }
    student, teacher = make_model(family, seed=1), make_model(family, seed=2)
    objective = make_objective({name: 1.0})
    one, other = (total_loss(objective, student, teacher, each)[0] for each in (batch, wider))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_losses_leave_the_teacher_unchanged(make_model, batch, weights_of):
    student, teacher = make_model(), make_model(seed=2)
    before = weights_of(teacher)
    objective = make_objective(dict.fromkeys(DISTILL_LOSSES, 1.0))
    total_loss(objective, student, teacher, batch)[0].backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize("name", ["mlm", "logit_mse", "logit_kl", "logit_ce"])
def test_a_batch_without_masked_positions_has_zero_loss_and_gradient(name, make_model, batch):
    batch = batch | {"labels": torch.full_like(batch["labels"], -100)}
    student = make_model()
    objective = make_objective({name: 1.0}, "masked")
    loss, _ = total_loss(objective, student, make_model(seed=2), batch)
    loss.backward()
    assert loss.item() == 0.0
    assert all(not parameter.grad.any() for parameter in student.parameters() if parameter.grad is not None)


def test_an_unknown_loss_is_refused_with_the_list_of_losses():
    with pytest.raises(
        HarnessError, match=r"unknown loss 'logit_msa'; there are: mlm, logit_mse, .* 'logit_mse'"
    ):
        Objective({"logit_msa": 1.0})


@pytest.mark.parametrize("name", ["logit_kl", "logit_ce"])
def test_a_softened_loss_needs_a_temperature(name):
    with pytest.raises(HarnessError, match=f"distill: expected a temperature with {name}; got none"):
        Objective({name: 1.0})


def test_a_relation_loss_needs_relation_split():
    with pytest.raises(HarnessError, match="distill: expected a relation_split with relation_kk; got none"):
        Objective({"relation_kk": 1.0})


def test_a_comparing_loss_needs_a_teacher(make_model, batch):
    with pytest.raises(
        HarnessError, match="expected a teacher; got none; name one in the recipe's distill step"
    ):
        total_loss(Objective({"logit_mse": 1.0}), make_model(), None, batch)


def test_logits_of_unequal_vocabularies_are_refused(make_model, batch):
    teacher = make_model(vocabulary=120)
    with pytest.raises(
        HarnessError,
        match=r"logit_mse expected one vocabulary .*; got 120 and 90 tokens; distill before trim",
    ):
        total_loss(Objective({"logit_mse": 1.0}), make_model(), teacher, batch)


def test_hidden_states_of_unequal_widths_are_refused(make_model, batch):
    teacher = make_model(hidden=24)
    with pytest.raises(HarnessError, match=r"hidden_cosine expected one hidden size .*; got 24 and 16"):
        total_loss(Objective({"hidden_cosine": 1.0}), make_model(), teacher, batch)
    loss, _ = total_loss(Objective({"logit_mse": 1.0}), make_model(), teacher, batch)
    assert loss.item() > 0


def test_every_row_has_a_function_and_every_function_a_row():
    assert task.labels is FUNCTIONS["labels"]
    missing = {f"function {name}" for name in LOSSES.keys() - FUNCTIONS.keys()}
    missing |= {f"row {name}" for name in FUNCTIONS.keys() - LOSSES.keys()}
    assert missing == set(), "harness/config/losses.py and harness/train/losses must list the same losses"
    assert LOSSES.keys() == DISTILL_LOSSES.keys() | TASK_LOSSES.keys()


@pytest.mark.parametrize("name", LOSSES)
def test_the_docstring_of_a_loss_states_its_formula(name):
    text = FUNCTIONS[name].__doc__
    assert text.startswith("Compute "), text
    assert LOSSES[name].source
