"""Narrowing a pre-norm encoder on text: exact where the basis holds the stream, and close elsewhere."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import layer_norm
from transformers import AutoModelForMaskedLM, ModernBertConfig, ModernBertForMaskedLM

from harness.config.shape import Shape
from harness.errors import HarnessError
from harness.models.narrowing.basis import measure_read_products, principal_read_basis
from harness.models.narrowing.least_squares import Linear, Regression
from harness.models.narrowing.narrow import narrow_on_text
from harness.models.narrowing.pre_norm import refit_pre_norm
from harness.models.narrowing.pre_norm_stream import make_stream, narrow_embeddings, turn_to_axes
from harness.models.size import count_parameters, sum_parts

HIDDEN, HEADS, VOCABULARY = 32, 8, 60
EXACT = 1e-6


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_model(lively, *, tied=True):
    """Return a random ModernBERT in double precision: gains that differ, local and global attention."""
    config = ModernBertConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=20,
        num_hidden_layers=3,
        num_attention_heads=HEADS,
        global_attn_every_n_layers=2,
        local_attention=6,
        pad_token_id=0,
        tie_word_embeddings=tied,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")),
    )
    torch.manual_seed(3)
    return lively(ModernBertForMaskedLM(config)).double().eval()


@pytest.fixture(scope="module")
def model(lively):
    return make_model(lively)


def make_low_rank(lively, held, *, whole):
    """Return a model whose embeddings have few directions, and the directions.

    Unless ``whole``, all that the sublayers add is in these directions, and three heads add nothing.
    """
    model = make_model(lively)
    basis_DC = torch.linalg.qr(drawn(HIDDEN, held) - drawn(HIDDEN, held).mean(0)).Q
    model.model.embeddings.norm.weight.data.fill_(0.7)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("tok_embeddings.weight"):
                weight.copy_(weight @ basis_DC @ basis_DC.T)
            if name.endswith(("attn.Wo.weight", "mlp.Wo.weight")) and not whole:
                weight.copy_(basis_DC @ basis_DC.T @ weight)
            if name.endswith("attn.Wo.weight") and not whole:
                weight[:, 4:16] = 0
    return model, basis_DC


@pytest.fixture(scope="module")
def text():
    """Batches of random tokens, padded, longer than the window of local attention."""
    batches = []
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(1, VOCABULARY, (8, 24), generator=generator)
        attended = (torch.arange(24) < torch.tensor([24, 20, 16, 24, 9, 24, 24, 12])[:, None]).long()
        labels = ids.masked_fill(attended == 0, -100)
        labels[:, ::3] = -100
        batches.append({"input_ids": ids * attended, "attention_mask": attended, "labels": labels})
    return batches


def run(model, batch):
    """Return the last states and the logits of attended tokens."""
    rows = {name: batch[name] for name in ("input_ids", "attention_mask")}
    attended = batch["attention_mask"].bool()
    with torch.no_grad():
        states = model.base_model(**rows).last_hidden_state[attended]
        return states, model(**rows).logits[attended]


def compute_error(small, model, batches):
    """Return the mean square of the logits' differences, but for a constant a row, by their variance."""
    pairs = [(run(small, one)[1], run(model, one)[1]) for one in batches]
    gaps = torch.cat([one - two for one, two in pairs])
    gaps = gaps - gaps.mean(1, keepdim=True)
    return float(gaps.square().mean() / torch.cat([two for _, two in pairs]).var())


def test_stream_passes_through_a_norm():
    basis = torch.linalg.qr(drawn(HIDDEN, 12) - drawn(HIDDEN, 12).mean(0)).Q
    stream = make_stream(torch.cat([basis, drawn(HIDDEN, 2, seed=1)], 1))
    rows = drawn(40, 12, seed=2) @ basis.T
    narrow = layer_norm(rows @ stream.down_DS, (14,))
    assert torch.allclose(narrow @ stream.up_SD, layer_norm(rows, (HIDDEN,)), atol=1e-12)
    assert torch.allclose(rows @ stream.down_DS @ stream.up_SD, rows, atol=1e-12)


def test_directions_turn_to_axes_where_they_hold_some():
    axes = torch.eye(10, dtype=torch.float64)[:, [1, 4, 5, 9]]
    turned, chosen = turn_to_axes(axes @ torch.linalg.qr(drawn(4, 4)).Q, torch.eye(4, dtype=torch.float64))
    assert chosen.tolist() == [1, 4, 5, 9]
    assert torch.allclose(turned, axes, atol=1e-12)


@pytest.mark.parametrize("width", [8, 20, HIDDEN])
def test_narrow_embeddings_keep_the_norms_output(width):
    """Rows of many lengths, one of zeros as padding, and gains that differ."""
    rows, gain = drawn(50, HIDDEN) * drawn(50, 1, seed=1).exp() + drawn(50, 1, seed=2), drawn(HIDDEN, seed=3)
    rows[0] = 0
    down = make_stream(drawn(HIDDEN, width, seed=4)).down_DS
    small, small_gain = narrow_embeddings(rows, gain, down)
    expected = layer_norm(rows, (HIDDEN,), gain) @ down
    computed = layer_norm(small, (width,), small_gain)
    lost = torch.zeros(width, dtype=torch.float64)
    lost[-2], lost[-1] = 0.5**0.5, -(0.5**0.5)
    gap = computed - computed.mean(1, keepdim=True) - expected
    assert torch.allclose(gap - (gap @ lost)[:, None] * lost, torch.zeros_like(gap), atol=1e-9)
    assert torch.allclose(small.mean(1), rows.mean(1), atol=1e-9)
    assert torch.allclose(small.std(1, unbiased=False), rows.std(1, unbiased=False), atol=1e-9)


def test_regression_without_a_constant():
    rows, weight = drawn(50, 4), drawn(3, 4, seed=1)
    regression = Regression(constant=False)
    regression.add(rows, rows @ weight.T)
    solved = regression.solve(1e-3, Linear(weight, weight.new_zeros(3)))
    assert torch.allclose(solved.weight_YX, weight, atol=1e-12)
    assert not solved.bias_Y.any()


def test_read_basis_holds_what_norms_pass_on(model, text):
    products = measure_read_products(model, text)
    assert len(products) == 7
    one = torch.ones(HIDDEN, dtype=torch.float64)
    assert all(float((moment @ one).abs().max()) < EXACT for moment in products)
    rows = torch.cat([run(model, batch)[0] for batch in text]) / model.model.final_norm.weight.detach()
    assert torch.allclose(products[-1], rows.T @ rows / len(rows), atol=EXACT)
    basis = principal_read_basis(model, text, 12).double()
    assert torch.allclose(basis.T @ basis, torch.eye(12, dtype=torch.float64), atol=EXACT)
    with pytest.raises(HarnessError, match=r"^narrow: expected batches of corpus text; got none"):
        principal_read_basis(model, [], 12)


@pytest.mark.parametrize(("width", "heads", "held"), [(20, 5, 15), (HIDDEN, HEADS, HIDDEN - 2)])
def test_encoder_is_exact_where_the_basis_holds_its_stream(lively, text, width, heads, held):
    """Layer 0 without a norm, local and global attention, gains that differ, and heads that add nothing."""
    model, basis = make_low_rank(lively, held, whole=width == HIDDEN)
    basis = torch.cat([basis, drawn(HIDDEN, width - held, seed=1)], 1)
    small, up = refit_pre_norm(model, basis, heads, text[:2]), make_stream(basis).up_SD
    for batch in text:
        expected, computed = run(model, batch)[0], run(small, batch)[0]
        assert torch.allclose(computed @ up * model.model.final_norm.weight.detach(), expected, atol=EXACT)


def test_keeping_every_dimension_is_lossless(model, text):
    same = narrow_on_text(model, HIDDEN, HEADS, text)
    assert torch.equal(run(same, text[0])[1], run(model, text[0])[1])


@pytest.mark.parametrize("basis", ["first", "importance", "pca"])
def test_fitting_loses_less_than_the_basis_alone(lively, text, basis):
    model = make_model(lively).float()
    fitted, cut = (
        compute_error(narrow_on_text(model, 24, 6, text, basis=basis, refit=refit), model, text)
        for refit in (True, False)
    )
    assert fitted < 0.6 * cut


@pytest.mark.parametrize("tied", [True, False])
def test_fitted_model_is_stock_and_the_wide_one_unchanged(lively, text, tmp_path, tied):
    model = make_model(lively, tied=tied).float()
    before = copy.deepcopy(model.state_dict())
    small = narrow_on_text(model, 16, 4, iter(text))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(one._forward_pre_hooks or one._forward_hooks for one in model.modules())
    shape = Shape.from_transformers(model.config.to_dict())
    counted = shape.model_copy(update={"hidden": 16, "heads": 4}).num_parameters
    assert sum_parts(count_parameters(small)).parameters == counted
    small.save_pretrained(tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    assert torch.equal(run(again, text[0])[1], run(small, text[0])[1])
    assert compute_error(small, model, text) < 0.9


def test_narrower_heads_are_refused(model, text):
    for refit in (True, False):
        with pytest.raises(
            HarnessError, match=r"^narrow: expected whole heads of 4, .* got 2; use heads: drop"
        ):
            narrow_on_text(model, 16, 8, text, refit=refit)
