"""Losses of hidden states, attention and relations equal their formulas, computed position by position."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from harness.config.losses import LossSettings, match_layers
from harness.errors import HarnessError
from harness.models.hidden_states import HiddenStates, capture_hidden_states
from harness.train.losses import attention, hidden_states
from harness.train.losses.inputs import LossInputs, Outputs
from harness.train.losses.objective import Objective, total_loss
from harness.train.losses.projection import find_projection, learned_projection


def project(queries, keys=None):
    """Return the attention projections of one layer with one head, from queries (and keys) of one row."""
    queries_BLA = torch.tensor([queries])
    keys_BLA = queries_BLA if keys is None else torch.tensor([keys])
    return HiddenStates((), (queries_BLA,), (keys_BLA,), (queries_BLA,), 1)


def compare(student, teacher, mask=(True, True), **settings):
    """Return loss inputs of one row, whose positions are attended as the mask says."""
    return LossInputs(
        student=Outputs(student),
        teacher=Outputs(teacher),
        labels_N=torch.tensor([]),
        mask_BL=torch.tensor([mask]),
        settings=LossSettings(**settings),
    )


def test_attention_scores_by_hand():
    """Two positions, one head of size four, against a teacher of zeros."""
    inputs = compare(project([[2.0, 0, 0, 0], [0, 2.0, 0, 0]]), project([[0.0] * 4] * 2))
    # q·k = [[4, 0], [0, 4]], divided by √4: [[2, 0], [0, 2]]; squares: 4, 0, 0, 4
    assert attention.attention_score_mse(inputs).item() == pytest.approx(2.0)


def test_attention_maps_by_hand():
    """Scores [ln 3, 0] give [3/4, 1/4]; the teacher's zeros give [1/2, 1/2]."""
    root = math.sqrt(math.log(3.0))
    student = project([[root, 0.0, 0.0, 0.0], [0.0] * 4], [[2 * root, 0, 0, 0], [0.0] * 4])
    inputs = compare(student, project([[0.0] * 4] * 2))
    # first row differs by 1/4 twice, the second not at all
    assert attention.attention_mse(inputs).item() == pytest.approx(2 * (1 / 16) / 4)
    divergence = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert attention.attention_kl(inputs).item() == pytest.approx(divergence / 2)


def test_relations_by_hand_with_heads_of_unequal_width():
    """One relation head: XXᵀ/√S of [[√(ln 3)·2^¼, 0], [0, 0]] is [[ln 3, 0], [0, 0]]."""
    student = project([[math.sqrt(math.log(3.0) * math.sqrt(2.0)), 0.0], [0.0, 0.0]])
    inputs = compare(student, project([[0.0] * 6] * 2), relation_split=1)
    divergence = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    for loss in (attention.relation_qq, attention.relation_kk, attention.relation_vv):
        assert loss(inputs).item() == pytest.approx(divergence / 2)


def last(student, teacher):
    """Return loss inputs whose last states at three positions are these."""
    return LossInputs(
        student=Outputs(states(), last_ND=torch.tensor(student)),
        teacher=Outputs(states(), last_ND=torch.tensor(teacher)),
        labels_N=torch.tensor([]),
        mask_BL=torch.ones(1, len(student), dtype=torch.bool),
        settings=LossSettings(),
    )


def test_centred_cosine_by_hand():
    """The teacher's mean is (10, 0): what is left are (1, 0), (−1, 0) and zero distances of the student."""
    inputs = last([[10.0, 1.0], [9.0, 0.0]], [[11.0, 0.0], [9.0, 0.0]])
    # student less the mean: (0, 1) at a right angle to (1, 0), and (−1, 0) like the teacher's
    assert hidden_states.centred_cosine(inputs).item() == pytest.approx(0.5)
    plain = hidden_states.hidden_cosine(inputs).item()
    assert plain < 0.01, "the direction that all positions share hides the difference"


def test_sentence_cosine_by_hand():
    """Row means less the teacher's mean (10, 0); padding of 99 plays no part."""
    student = states(
        torch.zeros(2, 2, 2), torch.tensor([[[9.0, 1.0], [11.0, 1.0]], [[9.0, 0.0], [99.0, 99.0]]])
    )
    teacher = states(
        torch.zeros(2, 2, 2), torch.tensor([[[10.0, 0.0], [12.0, 0.0]], [[9.0, 0.0], [7.0, 5.0]]])
    )
    inputs = LossInputs(
        student=Outputs(student),
        teacher=Outputs(teacher),
        labels_N=torch.tensor([]),
        mask_BL=torch.tensor([[True, True], [True, False]]),
        settings=LossSettings(),
    )
    assert hidden_states.sentence_cosine(inputs).item() == pytest.approx(0.5)


def test_one_vector_has_no_centre():
    inputs = last([[10.0, 1.0]], [[11.0, 0.0]])
    assert hidden_states.centred_cosine(inputs).item() == 0.0


def states(*layers):
    return HiddenStates(tuple(layers), (), (), (), 1)


def test_patient_by_hand():
    """Unit vectors at a right angle: squares 1 + 1 over two dimensions; the last layer plays no part."""
    student = states(
        torch.full((1, 3, 2), 9.0),
        torch.tensor([[[3.0, 0], [7, 7], [7, 7]]]),
        torch.full((1, 3, 2), 5.0),
    )
    teacher = states(
        torch.full((1, 3, 2), 2.0), torch.tensor([[[0.0, 4], [1, 2], [2, 1]]]), torch.zeros(1, 3, 2)
    )
    assert hidden_states.patient(compare(student, teacher)).item() == pytest.approx(1.0)


def test_features_by_hand():
    """Two layers, of which one differs by 2 in every attended place: (4 + 0) / 2."""
    student = states(torch.zeros(1, 2, 3), torch.tensor([[[2.0] * 3, [50.0] * 3]]), torch.ones(1, 2, 3))
    teacher = states(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), torch.ones(1, 2, 3))
    inputs = compare(student, teacher, mask=(True, False))
    assert hidden_states.feature_mse(inputs).item() == pytest.approx(2.0)
    assert hidden_states.embedding_mse(inputs).item() == 0.0


@pytest.mark.parametrize(
    ("way", "student", "teacher", "pairs"),
    [
        ("uniform", 4, 12, [(1, 3), (2, 6), (3, 9), (4, 12)]),
        ("uniform", 6, 12, [(1, 2), (2, 4), (3, 6), (4, 8), (5, 10), (6, 12)]),
        ("uniform", 5, 12, [(1, 2), (2, 4), (3, 7), (4, 9), (5, 12)]),
        ("last", 3, 12, [(1, 10), (2, 11), (3, 12)]),
        ("uniform", 3, 3, [(1, 1), (2, 2), (3, 3)]),
    ],
)
def test_match_layers_follows_the_papers(way, student, teacher, pairs):
    assert match_layers(way, student, teacher) == pairs


def compute_slowly(name, student, teacher, batch, split):
    """The formula of one loss with a loop over rows, heads and positions; layers 1 ↦ 2 and 2 ↦ 4."""
    given = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    views = []
    for model in (student, teacher):
        model.set_attn_implementation("eager")
        outputs = model(**given, output_hidden_states=True, output_attentions=True)
        views.append((model, outputs.hidden_states, outputs.attentions))
    lengths = batch["attention_mask"].sum(1).tolist()
    pairs = {"embedding_mse": [(0, 0)], "patient": [(1, 2)]}.get(name, [(1, 2), (2, 4)])
    terms = []
    for row, length in enumerate(lengths):
        if name.startswith("relation"):
            terms += relations(name, views, row, length, split)
            continue
        for one, other in pairs:
            mine, theirs = (
                view[1][layer][row, :length] for view, layer in zip(views, (one, other), strict=True)
            )
            if name in {"embedding_mse", "feature_mse"}:
                terms += [((mine[at] - theirs[at]) ** 2).mean() for at in range(length)]
            elif name == "patient":
                terms.append(((mine[0] / mine[0].norm() - theirs[0] / theirs[0].norm()) ** 2).mean())
            else:
                terms += compare_attention(name, views, (one, other), row, length)
    return torch.stack(terms).mean()


def compare_attention(name, views, layers, row, length):
    terms = []
    for head in range(2):
        if name == "attention_score_mse":
            mine, theirs = (
                scores(view, layer, row, head)[:length, :length]
                for view, layer in zip(views, layers, strict=True)
            )
        else:
            mine, theirs = (
                view[2][layer - 1][row, head, :length, :length]
                for view, layer in zip(views, layers, strict=True)
            )
        for at in range(length):
            if name == "attention_kl":
                terms.append((theirs[at] * (theirs[at] / mine[at]).log()).sum())
            else:
                terms += list((mine[at] - theirs[at]) ** 2)
    return terms


def projected(view, layer, row, role):
    """Return the output of a layer's query, key or value map."""
    model, hiddens, _ = view
    return getattr(model.base_model.encoder.layer[layer - 1].attention.self, role)(hiddens[layer - 1][row])


def scores(view, layer, row, head):
    queries, keys = (projected(view, layer, row, role) for role in ("query", "key"))
    size = queries.shape[-1] // 2
    piece = slice(head * size, (head + 1) * size)
    return queries[:, piece] @ keys[:, piece].T / math.sqrt(size)


def relations(name, views, row, length, split):
    role = {"relation_qq": "query", "relation_kk": "key", "relation_vv": "value"}[name]
    depth = [len(view[2]) for view in views]
    mine, theirs = (
        projected(view, layer, row, role)[:length] for view, layer in zip(views, depth, strict=True)
    )
    terms = []
    for head in range(2 * split):
        logs = []
        for vectors in (mine, theirs):
            size = vectors.shape[-1] // (2 * split)
            piece = vectors[:, head * size : (head + 1) * size]
            logs.append(functional.log_softmax(piece @ piece.T / math.sqrt(size), -1))
        terms += list((logs[1].exp() * (logs[1] - logs[0])).sum(-1))
    return terms


SAME_WIDTH = (
    "embedding_mse",
    "feature_mse",
    "patient",
    "attention_score_mse",
    "attention_mse",
    "attention_kl",
)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("name", [*SAME_WIDTH, "relation_qq", "relation_kk", "relation_vv"])
def test_layer_loss_equals_its_formula_and_gradient(name, family, make_model, batch):
    if family == "xlm-roberta":  # it pads with 1: the made-up batch's 0 and 1 change places
        batch = batch | {"input_ids": torch.where(batch["input_ids"] == 0, 1, batch["input_ids"])}
    width = {} if name in SAME_WIDTH else {"hidden": 24}
    student, teacher = make_model(family, seed=1), make_model(family, seed=2, layers=4, **width)
    loss, _ = total_loss(Objective({name: 1.0}, relation_split=2), student, teacher, batch)
    expected = compute_slowly(name, student, teacher, batch, 2)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-7)
    parameters = list(student.parameters())
    actual = torch.autograd.grad(loss, parameters, allow_unused=True)
    correct = torch.autograd.grad(expected, parameters, allow_unused=True)
    for one, other in zip(actual, correct, strict=True):
        zero = torch.zeros(())
        torch.testing.assert_close(
            zero if one is None else one, zero if other is None else other, rtol=1e-3, atol=1e-6
        )


@pytest.mark.parametrize("name", ["hidden_mse", "hidden_cosine", "embedding_mse", "feature_mse", "patient"])
def test_a_learned_projection_joins_two_widths(name, make_model, batch):
    student, teacher = make_model(), make_model(seed=2, layers=4, hidden=24)
    objective = Objective({name: 1.0}, projection=True)
    before = [key for key, _ in student.named_parameters()]
    with learned_projection(student, teacher, seed=5):
        loss, _ = total_loss(objective, student, teacher, batch)
        loss.backward()
        weight_TD = find_projection(student)
        assert weight_TD.shape == (24, 16)
        assert weight_TD.grad.abs().sum() > 0
        torch.testing.assert_close(weight_TD.T @ weight_TD, torch.eye(16), atol=1e-5, rtol=0)
    assert [key for key, _ in student.named_parameters()] == before


def test_a_projection_is_applied_as_a_matrix(make_model, batch):
    student, teacher = make_model(), make_model(seed=2, hidden=24)
    with learned_projection(student, teacher, seed=5):
        loss, _ = total_loss(Objective({"hidden_mse": 1.0}, projection=True), student, teacher, batch)
        mine, theirs = (
            capture_hidden_states(model, batch).hidden_states[-1][batch["attention_mask"].bool()]
            for model in (student, teacher)
        )
        torch.testing.assert_close(
            loss, ((mine @ find_projection(student).T - theirs) ** 2).mean(), rtol=1e-4, atol=1e-6
        )


def test_capturing_hidden_states_leaves_no_hook(make_model, batch):
    model = make_model()
    capture_hidden_states(model, batch, attention=True)
    assert all(not module._forward_hooks for module in model.modules())


def test_attention_of_unequal_numbers_of_heads_is_refused(make_model, batch):
    with pytest.raises(
        HarnessError,
        match=r"attention_kl expected as many heads in teacher and student; got 4 and 2; keep all",
    ):
        total_loss(Objective({"attention_kl": 1.0}), make_model(), make_model(heads=4), batch)


def test_features_of_unequal_widths_need_a_projection(make_model, batch):
    with pytest.raises(
        HarnessError, match=r"feature_mse expected .* got 24 and 16; .* add projection: learned"
    ):
        total_loss(Objective({"feature_mse": 1.0}), make_model(), make_model(hidden=24), batch)


def test_features_of_a_deeper_student_are_refused(make_model, batch):
    with pytest.raises(HarnessError, match=r"feature_mse expected a student no deeper .*; got 4 layers"):
        total_loss(Objective({"feature_mse": 1.0}), make_model(layers=4), make_model(), batch)


def test_relations_of_indivisible_widths_are_refused(make_model, batch):
    objective = Objective({"relation_kk": 1.0}, relation_split=5)
    with pytest.raises(HarnessError, match=r"relation_kk expected widths that 10 relation heads divide"):
        total_loss(objective, make_model(), make_model(), batch)
