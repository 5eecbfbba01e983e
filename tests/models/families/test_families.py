"""Every row of the table: its shape changes compute what they should, and load with the stock classes."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from harness.config.shape import Shape
from harness.errors import HarnessError
from harness.families import FAMILIES
from harness.models.families.mlm_head import split_mlm_head
from harness.models.families.table import find_layout, is_tied, read_size, write_size
from harness.models.hidden_states import capture_hidden_states
from harness.models.loading.checkpoint import assemble_model, build_model, load_checkpoint, save_checkpoint
from harness.models.narrowing.narrow import narrow_on_text
from harness.models.narrowing.refit import refit
from harness.models.size import count_parameters
from harness.models.surgery.axes import narrow, prune_ffn, prune_heads, rebuild_model, shorten
from harness.models.surgery.importance import (
    keep_top,
    measure_ffn_importance,
    measure_head_importance,
    measure_hidden_importance,
)
from harness.models.tokenizers import choose_tokens, count_tokens, trim_vocabulary
from harness.models.tokenizers.learning import count_words
from harness.models.tokenizers.retokenizing import keeps_padding, learn_tokenizer, retokenize


def logits(model, batch):
    with torch.no_grad():
        computed = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return computed[batch["attention_mask"].bool()]


def read_shape(model):
    return Shape.from_transformers(model.config.to_dict())


def supports(model, support):
    return support in FAMILIES[model.config.model_type].supports


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_formula_counts_every_parameter(build, tied):
    model = build(tie_word_embeddings=tied)
    assert is_tied(model) == tied
    counted = {name: part.parameters for name, part in count_parameters(model).items()}
    assert counted == read_shape(model).parameters()
    assert sum(counted.values()) == sum(one.numel() for one in model.parameters())


def test_blank_student_has_the_planned_shape(model, texts):
    shape = read_shape(model).model_copy(update={"layers": 2, "hidden": 16, "ffn": 20})
    student = build_model(shape, seed=3)
    assert read_shape(student) == shape
    assert sum(one.numel() for one in student.parameters()) == shape.num_parameters
    assert logits(student, texts).isfinite().all()


def test_split_head_computes_the_models_logits(model, texts):
    with torch.no_grad():
        states = model.base_model(input_ids=texts["input_ids"], attention_mask=texts["attention_mask"])[0]
        head = split_mlm_head(model)
        computed = head.transform(states[texts["attention_mask"].bool()]) @ head.weight_VD.T + head.bias_V
    assert torch.allclose(computed, logits(model, texts), atol=1e-4)


def test_pruned_neuron_equals_zeroed_neuron(model, texts):
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
    assert read_shape(small).num_parameters == sum(one.numel() for one in small.parameters())


def test_importance_is_the_effect_of_a_neurons_gate(model, texts):
    """To first order, by the gradient of a factor on the neuron's activation."""
    family, gates, hooks = find_layout(model), [], []
    for number in range(3):
        gates.append(torch.ones(30, requires_grad=True))
        ffn_out = model.get_submodule(f"{family.layers}.{number}.{family.ffn_out}")
        hooks.append(ffn_out.register_forward_pre_hook(lambda _, inputs, gate=gates[-1]: (inputs[0] * gate,)))
    gradients = torch.autograd.grad(model(**texts).loss, gates)
    for hook in hooks:
        hook.remove()
    measured = measure_ffn_importance(model, [texts], "taylor")
    for one, expected in zip(measured, gradients, strict=True):
        assert torch.allclose(one, expected.abs(), rtol=1e-3, atol=1e-6)


def test_pruned_head_has_no_output(model, tokenizer, texts, tmp_path):
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


def test_dropped_layer_equals_layer_that_passes_its_input_on(model, tokenizer, texts, tmp_path):
    """With its own kind of attention: of ModernBERT's layers the kept 0 and 2 look at all tokens."""
    small = shorten(model, [0, 2])
    whole = logits(model, texts)

    def pass_on(_module, inputs, output):
        return (inputs[0], *output[1:]) if isinstance(output, tuple) else inputs[0]

    hook = model.get_submodule(f"{find_layout(model).layers}.1").register_forward_hook(pass_on)
    expected = logits(model, texts)
    hook.remove()
    assert not torch.allclose(whole, expected, atol=1e-2)
    assert torch.allclose(logits(small, texts), expected, atol=1e-5)
    save_checkpoint(small, tokenizer, tmp_path)
    assert torch.equal(logits(load_checkpoint(tmp_path).model, texts), logits(small, texts))


def test_keeping_and_reordering_everything_loses_nothing(model, texts):
    order = torch.randperm(24, generator=torch.Generator().manual_seed(9))
    neurons = [torch.randperm(30, generator=torch.Generator().manual_seed(number)) for number in range(3)]
    reordered = narrow(prune_ffn(model, neurons), 24, 4, basis=order)
    for same in (shorten(model, [0, 1, 2]), narrow(model, 24, 4), reordered):
        assert torch.allclose(logits(same, texts), logits(model, texts), atol=1e-4)


def widen(model):
    """Return a model twice as wide that computes the same: no new head has an output, and a new dimension of
    the stream is the copy of an old one, which norms see and no map reads."""
    layout, config = find_layout(model), copy.deepcopy(model.config)
    tensors = {}
    for name, parameter in model.named_parameters():
        tensor, axes = parameter.detach(), layout.locate(name)[1]
        is_table = len(axes) == 2 and axes[0] in set("VPTR")
        for dimension, label in enumerate(axes):
            blocks, axis = int(label[:-1] or 1), label[-1]
            if axis not in {"A", "D"}:
                continue
            unread = dimension == 1 and not is_table
            zeroed = unread or name.startswith(layout.head_norm)
            blocks_of = tensor.unflatten(dimension, (blocks, -1))
            copied = torch.zeros_like(blocks_of) if zeroed else blocks_of
            tensor = torch.cat([blocks_of, copied], dimension + 1).flatten(dimension, dimension + 1)
        tensors[name] = tensor.contiguous()
    write_size(layout, config, "hidden_size", 2 * config.hidden_size)
    write_size(layout, config, "num_attention_heads", 2 * config.num_attention_heads)
    return assemble_model(layout, config, tensors)


def test_narrowing_takes_out_what_nothing_reads(model, texts):
    wide = widen(model)
    assert torch.allclose(logits(wide, texts), logits(model, texts), atol=1e-4)
    small = narrow(wide, 24, 4, heads_mode="dropped")
    assert read_shape(small) == read_shape(model)
    expected = model.state_dict()
    for name, tensor in small.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_layers_and_whole_heads_are_dropped(model, tokenizer, texts, tmp_path):
    kept = keep_top([measure_hidden_importance(model, [texts], "taylor")], 12)[0]
    small = narrow(shorten(model, [0, 2]), 12, 2, basis=kept, heads_mode="dropped")
    save_checkpoint(small, tokenizer, tmp_path)
    again = load_checkpoint(tmp_path).model
    assert torch.equal(logits(again, texts), logits(small, texts))
    assert (again.config.num_hidden_layers, again.config.hidden_size) == (2, 12)
    assert logits(small, texts).isfinite().all()
    assert read_shape(small).num_parameters == sum(one.numel() for one in small.parameters())


def test_heads_are_narrowed_unless_positions_rotate_them(model, texts):
    if FAMILIES[model.config.model_type].whole_heads:
        with pytest.raises(HarnessError, match=r"^narrow: expected whole heads of 6, .* got 3; use heads"):
            narrow(model, 12, 4)
        return
    for within in ("first", "svd"):
        small = narrow(model, 12, 4, within=within)
        assert logits(small, texts).isfinite().all()
        assert read_shape(small).head_size == 3


def test_layer_that_must_stay_first_is_not_dropped(model):
    if FAMILIES[model.config.model_type].first_layer_stays:
        with pytest.raises(HarnessError, match=r"^shorten: expected layer 0 kept as the first"):
            shorten(model, [1, 2])
    else:
        assert shorten(model, [2]).config.num_hidden_layers == 1


def test_narrowing_on_text_loses_little_or_is_refused(model, texts):
    if not supports(model, "narrow on text"):
        with pytest.raises(HarnessError, match=r"^narrow: expected a family of bert, .* for basis: pca and"):
            narrow_on_text(model, 12, 4, [texts])
        return
    heads = 2 if FAMILIES[model.config.model_type].whole_heads else 4
    small = narrow_on_text(model, 12, heads, [texts])
    assert logits(small, texts).isfinite().all()
    assert read_shape(small) == read_shape(model).model_copy(update={"hidden": 12, "heads": heads})
    if find_layout(model).pre_norm:
        same = narrow_on_text(model, 24, 4, [texts])
        assert torch.equal(logits(same, texts), logits(model, texts))
        return
    rows = {name: texts[name] for name in ("input_ids", "attention_mask")}
    same = rebuild_model(model, refit(model, torch.eye(24), 4, [texts], within="first"))
    with torch.no_grad():
        expected, states = (one.base_model(**rows).last_hidden_state for one in (model, same))
    attended = texts["attention_mask"].bool()
    assert torch.allclose(states[attended], expected[attended], atol=0.05)


def test_hidden_states_are_those_of_every_layer(model, texts):
    states = capture_hidden_states(model, texts, every_layer=True).hidden_states
    assert len(states) == 4
    last = capture_hidden_states(model, texts).hidden_states[-1]
    assert torch.equal(states[-1], last)


def test_queries_and_keys_make_the_attention_or_are_refused(model, texts):
    if not supports(model, "attention"):
        with pytest.raises(HarnessError, match=r"^distill: expected a family of bert, .* for losses of att"):
            capture_hidden_states(model, texts, attention=True)
        return
    model.set_attn_implementation("eager")
    with torch.no_grad():
        recorded = capture_hidden_states(model, texts, attention=True)
        expected = model.base_model(
            input_ids=texts["input_ids"], attention_mask=texts["attention_mask"], output_attentions=True
        ).attentions
    attended = texts["attention_mask"].bool()
    for *pair, weights in zip(recorded.queries, recorded.keys, expected, strict=True):
        query, key = (one.unflatten(-1, (4, 6)).transpose(1, 2) for one in pair)
        scores = (query @ key.mT / 6**0.5).masked_fill(~attended[:, None, None], -1e9)
        rows = attended[:, None, :, None].expand_as(scores)
        assert torch.allclose(scores.softmax(-1)[rows], weights[rows], atol=1e-5)


def test_trimming_keeps_tokens_and_logits(model, tokenizer, lines, tmp_path):
    counts = count_tokens(tokenizer, lines[:2])
    kept = choose_tokens(counts, len(tokenizer) - 40, tokenizer)
    result = trim_vocabulary(model, tokenizer, kept, lines)
    assert result.certificate.exact
    assert result.certificate.max_logit_difference <= 1e-5
    assert is_tied(result.model)
    save_checkpoint(result.model, result.tokenizer, tmp_path)
    small, again = AutoModelForMaskedLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert again(lines[0]).input_ids == result.tokenizer(lines[0]).input_ids
    assert small.get_input_embeddings().num_embeddings == len(again) == len(kept)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_learned_vocabulary_keeps_the_logits_of_shared_tokens(tied, build, lively, tokenizer, lines):
    model = lively(build(tie_word_embeddings=tied))
    words, size = count_words(tokenizer, lines), 330 if len(tokenizer) >= 400 else 190
    new = learn_tokenizer(tokenizer, words, size, up_to_padding=keeps_padding(model))
    small = retokenize(model, tokenizer, new)
    assert read_shape(small) == read_shape(model).model_copy(update={"vocabulary": size})
    shared = [
        (one[0], number) for number, one in enumerate(new.pieces) if len(one) == 1 and new.new[one[0]] < 0
    ]
    old_N, new_N = torch.tensor(shared[:24]).T
    assert len(old_N) == 24
    with torch.no_grad():
        before, after = (one(input_ids=ids[None]).logits[0] for one, ids in ((model, old_N), (small, new_N)))
    torch.testing.assert_close(before[:, old_N], after[:, new_N], atol=1e-5, rtol=0)
    assert small.config.pad_token_id == new.tokenizer.pad_token_id
