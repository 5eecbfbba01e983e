"""Each loss is its formula over the full logits, computed here the long way; padding plays no part."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from harness.errors import HarnessError
from harness.train.losses.objective import LOSSES, MLM, Objective, constant_gram, total_loss

OUTER = ("mlm", "logit_mse", "logit_kl", "logit_ce", "hidden_cosine", "hidden_mse")
"""What is seen from outside a model; the others are tried in test_train_inner_losses.py."""


def aim(weights, positions="attended"):
    """Gives an objective with every setting its losses may want."""
    return Objective(weights, positions, 2.0, relation_split=2)


FAMILIES = ("bert", "xlm-roberta")


def shift_for(family, batch):
    """XLM-R pads with 1: the made-up batch's 0 and 1 change places."""
    if family == "bert":
        return batch
    ids_BL = batch["input_ids"]
    return batch | {"input_ids": torch.where(ids_BL == 0, 1, ids_BL)}


def look(model, batch):
    """Gives every logit (B × L × V) and last hidden state (B × L × D), as the stock class has them."""
    seen = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True
    )
    return seen.logits, seen.hidden_states[-1]


def by_hand(name, student, teacher, batch, *, positions, temperature=2.0):
    """The formula of one loss, over all positions of a batch at once."""
    logits_BLV, hidden_BLD = look(student, batch)
    with torch.no_grad():
        wanted_BLV, target_BLD = look(teacher, batch)
    attended_BL, asked_BL = batch["attention_mask"].bool(), batch["labels"] != -100
    if name == "mlm":
        return functional.cross_entropy(logits_BLV[asked_BL], batch["labels"][asked_BL])
    if name == "hidden_cosine":
        return (1 - functional.cosine_similarity(hidden_BLD, target_BLD, dim=-1))[attended_BL].mean()
    if name == "hidden_mse":
        return ((hidden_BLD - target_BLD)[attended_BL] ** 2).mean()
    chosen_BL = attended_BL if positions == "attended" else asked_BL
    logits_NV, wanted_NV = logits_BLV[chosen_BL], wanted_BLV[chosen_BL]
    if name == "logit_mse":
        return ((logits_NV - wanted_NV) ** 2).sum() / (chosen_BL.sum() * logits_NV.shape[1])
    soft_NV = functional.softmax(wanted_NV / temperature, -1)
    if name == "logit_ce":
        return -(soft_NV * functional.log_softmax(logits_NV / temperature, -1)).sum(-1).mean()
    divergence = torch.nn.KLDivLoss(reduction="batchmean")
    return divergence(functional.log_softmax(logits_NV / temperature, -1), soft_NV) * temperature**2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("positions", ["attended", "masked"])
@pytest.mark.parametrize("name", OUTER)
def test_a_loss_is_its_formula_in_value_and_in_gradient(name, positions, family, make_model, batch):
    batch = shift_for(family, batch)
    student, teacher = make_model(family, seed=1), make_model(family, seed=2)
    objective = aim({name: 1.0}, positions)
    loss, parts = total_loss(objective, student, teacher, batch)
    expected = by_hand(name, student, teacher, batch, positions=positions)
    torch.testing.assert_close(loss, expected, rtol=2e-5, atol=1e-7)
    torch.testing.assert_close(parts[name], expected.detach(), rtol=2e-5, atol=1e-7)
    parameters = list(student.parameters())
    got = torch.autograd.grad(loss, parameters, allow_unused=True)
    wanted = torch.autograd.grad(expected, parameters, allow_unused=True)
    for one, other in zip(got, wanted, strict=True):
        zero = torch.zeros(())
        torch.testing.assert_close(
            zero if one is None else one, zero if other is None else other, rtol=1e-3, atol=1e-6
        )


def test_the_teachers_constant_is_formed_once_and_changes_nothing(make_model, batch):
    student, teacher = make_model(seed=1), make_model(seed=2)
    objective = Objective({"logit_mse": 1.0}, "attended")
    gram = constant_gram(objective, teacher)
    loss, _ = total_loss(objective, student, teacher, batch, gram)
    torch.testing.assert_close(loss, total_loss(objective, student, teacher, batch)[0], rtol=0, atol=0)
    assert total_loss(objective, student, teacher, batch, gram * 2)[0] != loss
    assert constant_gram(Objective({"mlm": 0.5, "hidden_mse": 0.5}), teacher) is None
    assert constant_gram(objective, None) is None


def test_the_masked_language_loss_is_the_stock_classes(make_model, batch):
    model = make_model()
    torch.testing.assert_close(total_loss(MLM, model, None, batch)[0], model(**batch).loss)


def test_logits_half_a_unit_apart_are_a_quarter_apart_in_squares_and_one_distribution(make_model, batch):
    student, teacher = make_model(), make_model()
    with torch.no_grad():
        student.cls.predictions.bias += 0.5
    objective = Objective({"logit_mse": 1.0, "logit_kl": 1.0}, "attended", 3.0)
    _, parts = total_loss(objective, student, teacher, batch)
    assert float(parts["logit_mse"]) == pytest.approx(0.25, abs=1e-5)
    assert float(parts["logit_kl"]) == pytest.approx(0.0, abs=1e-5)


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it(make_model, batch):
    names = [name for name in LOSSES if name not in {"mlm", "logit_ce"}]
    objective = aim(dict.fromkeys(names, 1.0))
    loss, _ = total_loss(objective, make_model(), make_model(), batch)
    assert abs(loss.item()) < 1e-5


def test_the_total_is_the_weighted_sum(make_model, batch):
    weights = {"mlm": 0.3, "logit_mse": 0.5, "logit_kl": 0.2, "hidden_cosine": 2.0, "hidden_mse": 0.1}
    loss, parts = total_loss(Objective(weights, "attended", 2.0), make_model(), make_model(seed=2), batch)
    assert set(parts) == set(weights)
    assert loss.item() == pytest.approx(sum(weight * float(parts[name]) for name, weight in weights.items()))
    assert not any(part.requires_grad for part in parts.values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", LOSSES)
def test_more_padding_changes_no_loss(name, family, make_model, batch):
    batch = shift_for(family, batch)
    pad = 0 if family == "bert" else 1
    wider = {
        "input_ids": functional.pad(batch["input_ids"], (0, 7), value=pad),
        "attention_mask": functional.pad(batch["attention_mask"], (0, 7)),
        "labels": functional.pad(batch["labels"], (0, 7), value=-100),
    }
    student, teacher = make_model(family, seed=1), make_model(family, seed=2)
    objective = aim({name: 1.0})
    one, other = (total_loss(objective, student, teacher, each)[0] for each in (batch, wider))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_the_teacher_gets_no_gradient_and_stays_as_it_was(make_model, batch, weights_of):
    student, teacher = make_model(), make_model(seed=2)
    before = weights_of(teacher)
    objective = aim(dict.fromkeys(LOSSES, 1.0))
    total_loss(objective, student, teacher, batch)[0].backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize("name", ["mlm", "logit_mse", "logit_kl", "logit_ce"])
def test_a_batch_in_which_nothing_is_asked_gives_zero_and_can_be_gone_back_through(name, make_model, batch):
    batch = batch | {"labels": torch.full_like(batch["labels"], -100)}
    student = make_model()
    objective = aim({name: 1.0}, "masked")
    loss, _ = total_loss(objective, student, make_model(seed=2), batch)
    loss.backward()
    assert loss.item() == 0.0
    assert all(not parameter.grad.any() for parameter in student.parameters() if parameter.grad is not None)


def test_an_unknown_loss_lists_those_there_are():
    with pytest.raises(
        HarnessError, match=r"unknown loss 'logit_msa'; there are: mlm, logit_mse, .* 'logit_mse'"
    ):
        Objective({"logit_msa": 1.0})


@pytest.mark.parametrize("name", ["logit_kl", "logit_ce"])
def test_a_softened_loss_wants_a_temperature(name):
    with pytest.raises(HarnessError, match=f"wanted a temperature beside {name}; got none"):
        Objective({name: 1.0})


def test_relations_want_to_know_how_heads_are_split():
    with pytest.raises(HarnessError, match="wanted relation_split beside relation losses; got none"):
        Objective({"relation_kk": 1.0})


def test_a_comparing_loss_wants_a_teacher(make_model, batch):
    with pytest.raises(
        HarnessError, match="wanted a teacher; got none; name one in the recipe's distill step"
    ):
        total_loss(Objective({"logit_mse": 1.0}), make_model(), None, batch)


def test_logits_of_two_vocabularies_are_not_compared(make_model, batch):
    teacher = make_model(vocabulary=120)
    with pytest.raises(
        HarnessError, match=r"of one vocabulary; got 120 and 90 tokens; trim after distilling"
    ):
        total_loss(Objective({"logit_mse": 1.0}), make_model(), teacher, batch)


def test_hidden_states_of_two_widths_are_not_compared(make_model, batch):
    teacher = make_model(hidden=24)
    with pytest.raises(HarnessError, match=r"hidden_cosine wanted .* of one hidden size; got 24 and 16"):
        total_loss(Objective({"hidden_cosine": 1.0}), make_model(), teacher, batch)
    loss, _ = total_loss(Objective({"logit_mse": 1.0}), make_model(), teacher, batch)
    assert loss.item() > 0
