"""Every row of the table: its shape changes compute what they should, and load with the stock classes."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, ElectraConfig, ElectraForMaskedLM

from harness.errors import HarnessError
from harness.families import FAMILIES, TEACHERS
from harness.models.families.mlm_head import split_mlm_head
from harness.models.families.table import LAYOUTS, find_layout, is_tied, read_size
from harness.models.loading.checkpoint import load_checkpoint, save_checkpoint
from harness.models.narrowing.narrow import narrow_on_text
from harness.models.size import count_parameters, sum_parts
from harness.models.surgery.axes import narrow, prune_ffn, prune_heads, shorten
from harness.models.surgery.importance import (
    keep_top,
    measure_ffn_importance,
    measure_head_importance,
    measure_hidden_importance,
)
from harness.models.tokenizers import choose_tokens, count_tokens, trim_vocabulary

SIZES = {"layers": 3, "hidden": 24, "heads": 4, "ffn": 30, "positions": 40}
SETTINGS = {"electra": {"embedding_size": 10}, "modernbert": {"bos_token_id": None, "eos_token_id": None}}
"""What a family's configuration states besides its sizes."""


def make_encoder(family, tokenizer):
    """Return a tiny encoder of a family for the words of a tokenizer."""
    keys = FAMILIES[family].keys
    sizes = {keys[name]: size for name, size in SIZES.items()} | {keys["vocabulary"]: len(tokenizer)}
    ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("pad", "cls", "sep")}
    config = LAYOUTS[family].config_class(**sizes | ids | SETTINGS.get(family, {}))
    return LAYOUTS[family].model_class(config)


@pytest.fixture(scope="module", params=[name for name in LAYOUTS if name not in TEACHERS])
def made(request, wordpiece, unigram, bpe, lively):
    """A tiny encoder and its tokenizer, for each family that no recipe starts from."""
    kinds = {"wordpiece": wordpiece, "unigram": unigram, "bpe": bpe}
    tokenizer = kinds[FAMILIES[request.param].tokenizers[0]]
    return lively(make_encoder(request.param, tokenizer).eval()), tokenizer


@pytest.fixture
def texts(made, lines):
    tokens = made[1](lines[:3], return_tensors="pt", padding=True, truncation=True, max_length=32)
    labels = tokens["input_ids"].masked_fill(tokens["attention_mask"] == 0, -100)
    return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"], "labels": labels}


def logits(model, batch):
    with torch.no_grad():
        computed = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return computed[batch["attention_mask"].bool()]


def test_every_parameter_is_in_the_table(made):
    model, _ = made
    parts = count_parameters(model)
    assert sum_parts(parts).parameters == sum(one.numel() for one in model.parameters())
    assert all(part.parameters > 0 for part in parts.values())


def test_split_head_computes_the_models_logits(made, texts):
    model, _ = made
    with torch.no_grad():
        states = model.base_model(input_ids=texts["input_ids"], attention_mask=texts["attention_mask"])[0]
        head = split_mlm_head(model)
        computed = head.transform(states[texts["attention_mask"].bool()]) @ head.weight_VD.T + head.bias_V
    assert torch.allclose(computed, logits(model, texts), atol=1e-4)


def test_pruned_neuron_equals_zeroed_neuron(made, texts):
    model, _ = made
    for kind in ("magnitude", "taylor", "taylor_logits"):
        scores = measure_ffn_importance(model, [texts], kind)
        assert [tuple(one.shape) for one in scores] == [(30,)] * 3
        assert all((one >= 0).all() for one in scores)
    kept = keep_top(scores, 20)
    small, family = prune_ffn(model, kept), find_layout(model)
    zeroed = copy.deepcopy(model)
    for number, one in enumerate(kept):
        dropped = torch.ones(30, dtype=torch.bool).index_fill(0, one, value=False)
        zeroed.get_submodule(f"{family.layers}.{number}.{family.ffn_out}").weight.data[:, dropped] = 0
    assert torch.allclose(logits(small, texts), logits(zeroed, texts), atol=1e-5)
    assert read_size(small, "intermediate_size") == 20


def test_pruned_head_has_no_output(made, texts, tmp_path):
    model, tokenizer = made
    family = find_layout(model)
    for kind in ("magnitude", "taylor", "taylor_logits"):
        scores = measure_head_importance(model, [texts], kind)
        assert [tuple(one.shape) for one in scores] == [(4,)] * 3
    kept = [torch.tensor([0, 2]), torch.tensor([1]), torch.arange(4)]
    small = prune_heads(model, kept)

    def hook(one):
        mask = torch.zeros(24).unflatten(0, (4, 6)).index_fill(0, one, 1).flatten()
        return lambda _, inputs: (inputs[0] * mask,)

    outs = [model.get_submodule(f"{family.layers}.{number}.{family.attention_out}") for number in range(3)]
    hooks = [out.register_forward_pre_hook(hook(one)) for out, one in zip(outs, kept, strict=True)]
    expected = logits(model, texts)
    for one in hooks:
        one.remove()
    assert torch.allclose(logits(small, texts), expected, atol=1e-5)
    assert not torch.allclose(logits(model, texts), expected, atol=1e-2)
    save_checkpoint(small, tokenizer, tmp_path)
    assert torch.equal(
        logits(AutoModelForMaskedLM.from_pretrained(tmp_path).eval(), texts), logits(small, texts)
    )


def test_keeping_every_layer_and_dimension_loses_nothing(made, texts):
    model, _ = made
    for same in (shorten(model, [0, 1, 2]), narrow(model, 24, 4)):
        assert torch.allclose(logits(same, texts), logits(model, texts), atol=1e-4)


def test_layers_and_whole_heads_are_dropped(made, texts, tmp_path):
    model, tokenizer = made
    kept = keep_top([measure_hidden_importance(model, [texts], "taylor")], 12)[0]
    small = narrow(shorten(model, [0, 2]), 12, 2, basis=kept, heads_mode="dropped")
    save_checkpoint(small, tokenizer, tmp_path)
    again = load_checkpoint(tmp_path).model
    assert torch.equal(logits(again, texts), logits(small, texts))
    assert (again.config.num_hidden_layers, again.config.hidden_size) == (2, 12)
    assert logits(small, texts).isfinite().all()


def test_unsupported_changes_are_refused(made, texts):
    model, _ = made
    kind = model.config.model_type
    if kind == "modernbert":
        with pytest.raises(HarnessError, match=r"^shorten: expected layer 0 kept as the first"):
            shorten(model, [1, 2])
        with pytest.raises(HarnessError, match=r"^narrow: expected whole heads of 6, .* got 3; use heads"):
            narrow(model, 12, 4)
    if kind != "distilbert":
        with pytest.raises(HarnessError, match=f"expected a family with norms .* got {kind}; take"):
            narrow_on_text(model, 12, 4, [texts])


def test_distilbert_is_fitted(made, texts):
    model, _ = made
    if model.config.model_type != "distilbert":
        pytest.skip("BERT and XLM-R are fitted in narrowing, the others are refused")
    small = narrow_on_text(model, 12, 4, [texts])
    assert logits(small, texts).isfinite().all()
    assert small.config.dim == 12


def test_trimming_keeps_tokens_and_logits(made, lines, texts, tmp_path):
    model, tokenizer = made
    counts = count_tokens(tokenizer, lines[:2])
    kept = choose_tokens(counts, 310 if model.config.model_type == "modernbert" else 200, tokenizer)
    result = trim_vocabulary(model, tokenizer, kept, lines)
    assert result.certificate.exact
    assert result.certificate.max_logit_difference <= 1e-5
    assert is_tied(result.model)
    save_checkpoint(result.model, result.tokenizer, tmp_path)
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer(lines[0]).input_ids == result.tokenizer(lines[0]).input_ids
    assert model.get_input_embeddings().num_embeddings == len(tokenizer) == len(kept)


def test_electra_without_embedding_map_cannot_be_narrowed():
    config = ElectraConfig(
        vocab_size=50,
        embedding_size=8,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=8,
    )
    model = ElectraForMaskedLM(config).eval()
    expected = "expected an Electra whose embeddings are narrower than its hidden states; got both 8 wide"
    with pytest.raises(HarnessError, match=expected):
        narrow(model, 4, 2)
    for kind in ("magnitude", "taylor"):
        with pytest.raises(HarnessError, match=expected):
            measure_hidden_importance(model, [], kind)
    assert shorten(model, [1]).config.num_hidden_layers == 1
