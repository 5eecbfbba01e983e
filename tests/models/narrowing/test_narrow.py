"""Narrowing on text: the sample passes as through the model, and the fits are what they say."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForMaskedLM

from harness.errors import HarnessError
from harness.models.families.table import is_tied
from harness.models.loading.checkpoint import save_checkpoint
from harness.models.narrowing import activations
from harness.models.narrowing.activations import TextSample
from harness.models.narrowing.basis import measure_residual_covariances, principal_basis, selection_basis
from harness.models.narrowing.least_squares import (
    AffineFit,
    Covariance,
    Linear,
    Regression,
    append_ones,
    square_roots,
)
from harness.models.narrowing.narrow import narrow_on_text
from harness.models.narrowing.refit import refit
from harness.models.size import count_parameters, sum_parts
from harness.models.surgery.axes import fold_basis, narrow, rebuild_model


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def states(model, batch):
    with torch.no_grad():
        computed = model.base_model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], output_hidden_states=True
        )
    return [one[batch["attention_mask"].bool()] for one in computed.hidden_states]


def logits(model, batch):
    with torch.no_grad():
        computed = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return computed[batch["attention_mask"].bool()]


@pytest.fixture
def sample(encoder, lines):
    """Masked batches of all lines."""
    batches = []
    for start in range(0, 40, 8):
        texts = lines[start : start + 8]
        tokens = encoder.tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=36)
        batch = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        labels[:, 1::2] = -100
        batches.append(batch | {"labels": labels})
    return batches


def test_regression_recovers_the_map_in_any_parts():
    rows, weight, bias = drawn(50, 4), drawn(3, 4, seed=1), drawn(3, seed=2)
    expected = rows @ weight.T + bias
    whole, pieces = Regression(), Regression()
    whole.add(rows, expected)
    for start in range(0, 50, 7):
        pieces.add(rows[start : start + 7], expected[start : start + 7])
    for computed in (whole.solve(1e-9), pieces.solve(1e-9)):
        assert torch.allclose(computed.weight_YX, weight, atol=1e-5)
        assert torch.allclose(computed.bias_Y, bias, atol=1e-5)
        assert torch.allclose(computed(rows), expected, atol=1e-4)


def test_regression_ignores_zero_weights_and_falls_back_to_the_prior():
    rows, prior = drawn(30, 3), Linear(torch.full((1, 3), 7.0), torch.tensor([2.0]))
    rows[:, 2] = 0
    expected = rows[:, :1] - 1
    expected[0] = 1e3
    regression = Regression()
    weight = torch.ones(30).index_fill(0, torch.tensor([0]), 0)
    regression.add(rows, expected, weight)
    computed = regression.solve(1e-6, prior)
    assert torch.allclose(computed.weight_YX, torch.tensor([[1.0, 0.0, 7.0]]), atol=1e-3)
    assert float(computed.bias_Y) == pytest.approx(-1, abs=1e-3)


def test_covariance_sums_over_all_rows():
    rows, spread, gain = drawn(40, 3) + 2, Covariance(), AffineFit()
    for piece in rows.split(9):
        spread.add(piece)
        gain.add(piece, piece * torch.tensor([2.0, -1.0, 0.0]) + 5)
    assert torch.allclose(spread.covariance(), torch.cov(rows.double().T, correction=0), atol=1e-5)
    ones = append_ones(rows).double()
    assert torch.allclose(spread.second_moment(), ones.T @ ones / 40, atol=1e-5)
    computed, bias = gain.solve()
    assert torch.allclose(computed, torch.tensor([2.0, -1.0, 0.0]), atol=1e-4)
    assert torch.allclose(bias, torch.full((3,), 5.0), atol=1e-3)
    root, inverse = square_roots(spread.covariance())
    assert torch.allclose(root @ root, spread.covariance(), atol=1e-9)
    assert torch.allclose(root @ inverse, torch.eye(3, dtype=torch.float64), atol=1e-9)


def test_sample_runs_as_in_the_model(encoder, batch):
    model, sample = encoder.model, TextSample([batch])
    with torch.no_grad():
        _, [rows] = activations.run_embeddings(model, sample)
        computed = [rows]
        for number in range(3):
            computed.append(activations.run_layer(model, number, computed[-1], sample.attended[0]).after_ND)
    for one, two in zip(computed, states(model, batch), strict=True):
        assert torch.allclose(one, two, atol=1e-5)
    assert int(sample.loss_rows()[0].sum()) == int((batch["labels"] != -100).sum())
    assert bool(TextSample([{**batch, "labels": None}]).loss_rows()[0].all())


@pytest.mark.parametrize("weight", [None, 0.5, 2.0])
def test_principal_basis_holds_most_variance(encoder, sample, weight):
    basis = principal_basis(encoder.model, sample, 10, embeddings_weight=weight).double()
    assert torch.allclose(basis.T @ basis, torch.eye(10, dtype=torch.float64), atol=1e-5)
    places = measure_residual_covariances(encoder.model, sample)
    assert len(places) == 7
    first = 1 if weight is None else 6 * weight
    covariance = first * places[0] + sum(places[1:])
    held = float((basis.T @ covariance @ basis).trace())
    assert held > float(covariance.diagonal().sort(descending=True).values[:10].sum())
    rows = torch.cat([states(encoder.model, one)[0] for one in sample]).double()
    assert torch.allclose(places[0], torch.cov(rows.T, correction=0), atol=1e-4)


def test_embeddings_weight_is_applied(encoder, sample):
    """With all the weight on them, the basis is that of the embeddings alone."""
    rows = torch.cat([states(encoder.model, one)[0] for one in sample]).double()
    alone = torch.linalg.eigh(torch.cov(rows.T, correction=0)).eigenvectors.flip(1)[:, :6]
    kept = {
        one: principal_basis(encoder.model, sample, 6, embeddings_weight=one).double() for one in (None, 1e6)
    }
    shared = {one: float((alone.T @ basis).square().sum()) for one, basis in kept.items()}
    assert shared[1e6] == pytest.approx(6, abs=1e-3)
    assert shared[None] < 5.9


def test_folding_dimensions_equals_keeping_them(encoder, batch):
    kept = torch.tensor([0, 3, 4, 7, 8, 9, 12, 13, 17, 20, 21, 23])
    for within in ("first", "svd"):
        folded = fold_basis(encoder.model, selection_basis(kept, 24), 4, within=within)
        expected = narrow(encoder.model, 12, 4, basis=kept, within=within)
        assert torch.allclose(logits(folded, batch), logits(expected, batch), atol=1e-4)


def test_refit_at_full_width_keeps_the_stream(encoder, sample):
    tensors = refit(encoder.model, torch.eye(24), 4, sample)
    same = rebuild_model(encoder.model, tensors)
    for one, two in zip(states(same, sample[0]), states(encoder.model, sample[0]), strict=True):
        assert float((one - two).square().mean()) < 1e-3 * float(two.var())


@pytest.mark.parametrize("basis", ["first", "importance"])
def test_keeping_every_dimension_is_lossless(encoder, sample, basis):
    same = narrow_on_text(encoder.model, 24, 4, sample, basis=basis)
    assert torch.allclose(logits(same, sample[0]), logits(encoder.model, sample[0]), atol=1e-4)


def hooks(model):
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.modules())


def error(small, model, batches):
    pairs = [(logits(small, one), logits(model, one)) for one in batches]
    gaps = [one - one.mean(1, keepdim=True) - two + two.mean(1, keepdim=True) for one, two in pairs]
    return float(torch.cat(gaps).square().mean() / torch.cat([two for _, two in pairs]).var())


def test_fitting_beats_folding_beats_first_dimensions(encoder, sample):
    model = encoder.model
    first = error(narrow(model, 16, 4), model, sample)
    fitted = error(narrow_on_text(model, 16, 4, sample, basis="pca"), model, sample)
    folded = error(narrow_on_text(model, 16, 4, sample, basis="pca", refit=False), model, sample)
    assert fitted < folded
    assert fitted < first / 2


@pytest.mark.parametrize("basis", ["first", "importance", "pca"])
@pytest.mark.parametrize("sizes", [(12, 4, "svd"), (12, 4, "first"), (12, 2, "svd"), (10, 2, "svd")], ids=str)
def test_narrowed_model_is_stock_and_the_original_unchanged(encoder, sample, tmp_path, basis, sizes):
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    watched = hooks(encoder.model)
    hidden, heads, within = sizes
    small = narrow_on_text(encoder.model, hidden, heads, iter(sample), basis=basis, within=within)
    shape = encoder.shape.model_copy(update={"hidden": hidden, "heads": heads})
    assert sum_parts(count_parameters(small)).parameters == shape.num_parameters
    assert is_tied(small) == encoder.shape.tied
    assert all(torch.equal(value, before[name]) for name, value in encoder.model.state_dict().items())
    assert hooks(encoder.model) == watched
    save_checkpoint(small, encoder.tokenizer, tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    assert torch.equal(logits(again, sample[0]), logits(small, sample[0]))
    assert all(bool(value.isfinite().all()) for value in small.state_dict().values())


def test_unfit_requests_are_refused(encoder, sample):
    with pytest.raises(HarnessError, match="unknown basis 'last'; there are: first, importance, pca"):
        narrow_on_text(encoder.model, 12, 4, sample, basis="last")
    for refitted in (True, False):
        with pytest.raises(HarnessError, match=r"^narrow: expected batches of corpus text; got none"):
            narrow_on_text(encoder.model, 12, 4, [], refit=refitted)
    with pytest.raises(HarnessError, match="got 4 heads in 13; choose a multiple"):
        narrow_on_text(encoder.model, 13, 4, sample)
