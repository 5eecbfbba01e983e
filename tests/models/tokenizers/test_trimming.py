"""Trimming: text that needs no dropped token keeps its tokens and its logits, for every kind of tokenizer."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForMaskedLM, AutoTokenizer, PreTrainedTokenizerFast

from harness.errors import HarnessError
from harness.models.families.table import find_layout, is_tied
from harness.models.loading.checkpoint import build_model, save_checkpoint
from harness.models.size import count_parameters, sum_parts
from harness.models.tokenizers import choose_tokens, count_characters, count_tokens, trim_vocabulary
from harness.models.tokenizers.sizes import measure_sizes


@pytest.fixture(params=["bert", "xlm-roberta", "bpe"])
def kind(request, wordpiece, unigram, bpe, shape_of, lively):  # noqa: PLR0917
    """One encoder for each kind of tokenizer."""
    tokenizer = {"bert": wordpiece, "xlm-roberta": unigram, "bpe": bpe}[request.param]
    shape = shape_of("bert" if request.param == "bpe" else request.param, len(tokenizer))
    model = build_model(shape, seed=1)
    model.config.pad_token_id = tokenizer.pad_token_id
    return SimpleNamespace(name=request.param, model=lively(model), tokenizer=tokenizer)


def kept_half(kind, lines):
    """Keeps what four of the five languages need, so that some tokens are dropped and some text is whole."""
    counts = count_tokens(kind.tokenizer, [line for number, line in enumerate(lines[:5]) if number != 1])
    size = 310 if kind.name == "bpe" else int((counts > 0).sum()) + 8
    return choose_tokens(counts, size, kind.tokenizer)


def ids(tokenizer, text):
    return tokenizer(text, return_tensors="pt", truncation=True, max_length=36)["input_ids"]


def logits(model, ids_BL):
    with torch.no_grad():
        return model(input_ids=ids_BL).logits


def test_whole_text_keeps_tokens_and_logits(kind, lines, tmp_path):
    kept = kept_half(kind, lines)
    result = trim_vocabulary(kind.model, kind.tokenizer, kept)
    assert 0 < len(kept) < len(kind.tokenizer)
    new = {old: number for number, old in enumerate(kept.tolist())}
    whole = 0
    for word in (word for line in lines[:12] for word in line.split(" ")):
        before, after = (one(word).input_ids for one in (kind.tokenizer, result.tokenizer))
        if set(before) <= new.keys():
            whole += 1
            assert [new[one] for one in before] == after
            assert kind.tokenizer.convert_ids_to_tokens(before) == result.tokenizer.convert_ids_to_tokens(
                after
            )
    assert whole > 20
    kept_ids = [new[one] for line in lines for one in kind.tokenizer(line).input_ids if one in new][:30]
    after = torch.tensor([kept_ids])
    before = torch.from_numpy(kept)[after]
    expected = logits(kind.model, before)[..., torch.from_numpy(kept)]
    assert torch.allclose(logits(result.model, after), expected, atol=1e-5, rtol=0)


def test_sizes_are_measured_as_the_certificate_measures_them(kind, lines):
    kept = kept_half(kind, lines)
    certificate = trim_vocabulary(kind.model, kind.tokenizer, kept, lines).certificate
    whole, half = measure_sizes(
        kind.tokenizer, {"all": np.arange(len(kind.tokenizer)), "half": kept}, {"text": lines}
    )
    assert (whole.num_tokens, half.num_tokens) == (len(kind.tokenizer), len(kept))
    assert whole.texts["text"].words_unchanged_fraction == 1
    assert whole.texts["text"].tokens_per_word == certificate.tokens_per_word_before
    text = half.texts["text"]
    assert text.num_words == certificate.num_words
    assert text.words_unchanged_fraction == certificate.words_unchanged_fraction < 1
    assert text.tokens_per_word == certificate.tokens_per_word_after
    assert text.unknown_fraction == certificate.unknown_fraction_after


def test_result_loads_with_the_stock_classes(kind, lines, tmp_path):
    result = trim_vocabulary(kind.model, kind.tokenizer, kept_half(kind, lines))
    save_checkpoint(result.model, result.tokenizer, tmp_path)
    model = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert type(model) is type(kind.model)
    assert type(tokenizer) is type(kind.tokenizer)
    texts = [*lines, "漢字 q", ""]
    assert [tokenizer(text).input_ids for text in texts] == [
        result.tokenizer(text).input_ids for text in texts
    ]
    assert tokenizer("a", "b").input_ids == result.tokenizer("a", "b").input_ids
    assert torch.equal(
        logits(model, ids(tokenizer, lines[0])), logits(result.model, ids(tokenizer, lines[0]))
    )
    assert model.config.vocab_size == len(tokenizer) == len(result.kept)
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert tokenizer.special_tokens_map == kind.tokenizer.special_tokens_map
    words = [text for line in lines[:1] for text in line.split()]
    assert tokenizer.decode(tokenizer(words[0]).input_ids, skip_special_tokens=True) == kind.tokenizer.decode(
        kind.tokenizer(words[0]).input_ids, skip_special_tokens=True
    )


def test_original_model_is_unchanged(kind, lines):
    vocabulary = kind.tokenizer.get_vocab()
    before = {name: value.clone() for name, value in kind.model.state_dict().items()}
    backend = kind.tokenizer.backend_tokenizer.to_str()
    trim_vocabulary(kind.model, kind.tokenizer, kept_half(kind, lines), lines[:4])
    assert kind.tokenizer.get_vocab() == vocabulary
    assert json.loads(kind.tokenizer.backend_tokenizer.to_str())["model"] == json.loads(backend)["model"]
    assert all(torch.equal(value, before[name]) for name, value in kind.model.state_dict().items())


def test_rows_and_biases_stay_with_their_token(encoder):
    """Tied and untied: embedding rows, decoder rows and decoder bias."""
    specials = encoder.tokenizer.all_special_ids
    kept = np.array([*reversed(range(0, len(encoder.tokenizer), 3)), *specials])
    result = trim_vocabulary(encoder.model, encoder.tokenizer, np.unique(kept)[::-1])
    family = find_layout(encoder.model)
    rows = torch.from_numpy(result.kept)
    assert np.array_equal(result.kept, np.unique(kept))
    assert is_tied(result.model) == is_tied(encoder.model)
    for path in (f"{family.word}.weight", f"{family.decoder}.weight", f"{family.decoder}.bias"):
        before, after = (one.get_parameter(path) for one in (encoder.model, result.model))
        assert torch.equal(after, before[rows])
    shape = encoder.shape.model_copy(update={"vocabulary": len(rows)})
    assert sum_parts(count_parameters(result.model)).parameters == shape.num_parameters


def test_keeping_everything_changes_nothing(encoder, lines):
    result = trim_vocabulary(encoder.model, encoder.tokenizer, range(len(encoder.tokenizer)), lines)
    assert result.tokenizer.get_vocab() == encoder.tokenizer.get_vocab()
    certificate = result.certificate
    assert (certificate.words_unchanged_fraction, certificate.lines_unchanged_fraction) == (1, 1)
    assert certificate.max_logit_difference == 0
    assert certificate.unknown_fraction_before == certificate.unknown_fraction_after


def test_certificate(kind, lines):
    result = trim_vocabulary(kind.model, kind.tokenizer, kept_half(kind, lines), lines)
    certificate = result.certificate
    assert certificate.exact
    assert certificate.num_words_altered == 0
    assert certificate.max_logit_difference <= 1e-5
    assert (certificate.num_tokens_before, certificate.num_tokens_after) == (
        len(kind.tokenizer),
        len(result.kept),
    )
    assert certificate.num_lines == len(lines)
    assert 0 < certificate.words_kept_fraction < 1
    assert certificate.words_kept_fraction <= certificate.words_unchanged_fraction < 1
    assert certificate.tokens_per_word_before <= certificate.tokens_per_word_after or kind.name != "bpe"
    assert json.loads(json.dumps(certificate.as_dict()))["exact"] is True
    assert trim_vocabulary(kind.model, kind.tokenizer, result.kept).certificate is None


def test_certificate_counts_by_hand(kind, lines):
    """The same fractions, recounted word by word with the public tokenizers."""
    kept = kept_half(kind, lines)
    result = trim_vocabulary(kind.model, kind.tokenizer, kept, lines[:5])
    new = dict(zip(kept.tolist(), range(len(kept)), strict=True))
    words = same = whole = 0
    for line in lines[:5]:
        old, small = (one(line, add_special_tokens=False) for one in (kind.tokenizer, result.tokenizer))
        for word in set(old.word_ids()):
            before = [
                one for one, number in zip(old.input_ids, old.word_ids(), strict=True) if number == word
            ]
            after = [
                one for one, number in zip(small.input_ids, small.word_ids(), strict=True) if number == word
            ]
            words += 1
            whole += set(before) <= new.keys()
            same += [new.get(one) for one in before] == after
    certificate = result.certificate
    assert certificate.num_words == words
    assert certificate.words_unchanged_fraction == pytest.approx(same / words)
    assert certificate.words_kept_fraction == pytest.approx(whole / words)


def test_certificate_detects_a_wrong_row(encoder, lines):
    from harness.models.loading.checkpoint import Checkpoint
    from harness.models.tokenizers.coverage import certify_trimming

    kept = np.arange(len(encoder.tokenizer))
    result = trim_vocabulary(encoder.model, encoder.tokenizer, kept)
    decoder = result.model.get_submodule(find_layout(result.model).decoder)
    decoder.bias.data = decoder.bias.data.roll(1)  # the fault of the published code
    before, after = Checkpoint(encoder.model, encoder.tokenizer), Checkpoint(result.model, result.tokenizer)
    assert certify_trimming(before, after, kept, lines[:2]).max_logit_difference > 0.01


def test_counts_equal_the_tokenizers_ids(kind, lines):
    seen = []
    counts = count_tokens(kind.tokenizer, iter(lines), seen.append)
    expected = np.zeros(len(kind.tokenizer), dtype=np.int64)
    for line in lines:
        for number in kind.tokenizer(line, add_special_tokens=False).input_ids:
            expected[number] += 1
    assert np.array_equal(counts, expected)
    assert seen == [len(lines)]
    kind.tokenizer(["a b c d e f"], truncation=True, max_length=3, padding=True)
    assert np.array_equal(count_tokens(kind.tokenizer, lines), expected)
    assert count_tokens(kind.tokenizer, []).sum() == 0


def test_most_frequent_tokens_are_kept(wordpiece):
    counts = np.zeros(len(wordpiece), dtype=np.int64)
    counts[[30, 20, 10]] = [5, 9, 5]
    assert choose_tokens(counts, 7, wordpiece).tolist() == [0, 1, 2, 3, 4, 10, 20]
    assert choose_tokens(counts, 8, wordpiece).tolist() == [0, 1, 2, 3, 4, 10, 20, 30]
    assert choose_tokens(counts, 9, wordpiece).tolist() == [0, 1, 2, 3, 4, 5, 10, 20, 30]
    assert choose_tokens(counts, len(wordpiece), wordpiece).tolist() == list(range(len(wordpiece)))


def test_requested_characters_are_kept(kind, lines):
    counts = count_tokens(kind.tokenizer, lines[:1])
    characters = count_characters(kind.tokenizer, lines[:1])
    size = 330 if kind.name == "bpe" else 130
    result = trim_vocabulary(
        kind.model, kind.tokenizer, choose_tokens(counts, size, kind.tokenizer, characters)
    )
    assert len(result.kept) == size
    old = kind.tokenizer.get_vocab()
    prefix = {"bert": "##", "xlm-roberta": "▁", "bpe": "▁"}[kind.name]
    expected = {form for one in characters for form in (one, prefix + one) if form in old}
    assert expected
    assert expected <= result.tokenizer.get_vocab().keys()


def test_bpe_tokens_bring_their_parents(bpe, lines):
    counts = count_tokens(bpe, lines[:1])
    kept = choose_tokens(counts, 300, bpe)
    assert len(kept) == 300
    spec = json.loads(bpe.backend_tokenizer.to_str())
    tokens = {bpe.convert_ids_to_tokens(int(one)) for one in kept}
    merged = {left + right: (left, right) for left, right in reversed(spec["model"]["merges"])}
    assert all({*merged[token]} <= tokens for token in tokens if token in merged)


def test_bpe_token_brings_the_pair_it_is_merged_from(shape_of):
    names = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "a",
        "b",
        "c",
        "d",
        "ab",
        "cd",
        "bc",
        "abc",
        "abcd",
    ]
    merges = [("a", "b"), ("c", "d"), ("b", "c"), ("a", "bc"), ("abc", "d"), ("ab", "cd")]
    backend = Tokenizer(models.BPE({name: place for place, name in enumerate(names)}, merges))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    counts = count_tokens(tokenizer, ["abcd abcd", "abcd"])
    for size in (12, 13):
        kept = choose_tokens(counts, size, tokenizer)
        assert names.index("abcd") in kept
        small = trim_vocabulary(build_model(shape_of("bert", len(names)), seed=1), tokenizer, kept).tokenizer
        assert small.tokenize("abcd") == tokenizer.tokenize("abcd") == ["abcd"]


def test_unigram_keeps_the_cost_of_unknown_characters(unigram):
    """Unknown characters cost ten less than the worst piece; dropping it would change other segmentations."""
    scores = [score for _, score in json.loads(unigram.backend_tokenizer.to_str())["model"]["vocab"]]
    assert int(np.argmin(scores)) in choose_tokens(np.zeros(len(unigram), dtype=np.int64), 8, unigram)


def test_added_tokens_are_kept_and_renumbered(kind, lines, tmp_path):
    import copy

    tokenizer = copy.deepcopy(kind.tokenizer)
    tokenizer.add_tokens(["<entity>"])
    model = copy.deepcopy(kind.model)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    size = 270 if kind.name == "bpe" else 150
    result = trim_vocabulary(
        model, tokenizer, choose_tokens(count_tokens(tokenizer, lines[:1]), size, tokenizer)
    )
    assert result.tokenizer.convert_tokens_to_ids("<entity>") == size - 1
    assert result.tokenizer("il-kelb <entity>", add_special_tokens=False).input_ids[-1] == size - 1
    save_checkpoint(result.model, result.tokenizer, tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again("il-kelb <entity>").input_ids == result.tokenizer("il-kelb <entity>").input_ids


def test_bad_choices_are_refused(encoder):
    size = len(encoder.tokenizer)
    counts = np.zeros(size, dtype=np.int64)
    with pytest.raises(
        HarnessError, match=rf"^trim: expected at most the {size} tokens there are; got {size + 1}; ask"
    ):
        choose_tokens(counts, size + 1, encoder.tokenizer)
    with pytest.raises(
        HarnessError, match=r"^trim: expected at least the \d special tokens and characters .*; got 2; ask"
    ):
        choose_tokens(counts, 2, encoder.tokenizer)
    with pytest.raises(
        HarnessError, match=rf"^trim: expected a count for each of {size} tokens; got 3; count again"
    ):
        choose_tokens(counts[:3], 50, encoder.tokenizer)


def test_bad_keep_lists_are_refused(encoder, wordpiece, unigram):
    model, tokenizer, size = encoder.model, encoder.tokenizer, len(encoder.tokenizer)
    everything = np.arange(size)
    lacking = np.delete(everything, tokenizer.mask_token_id)
    token = tokenizer.mask_token.replace("[", r"\[").replace("]", r"\]")
    with pytest.raises(
        HarnessError, match=f"^trim: the keep-list lacks the special token '{token}'; add it, or"
    ):
        trim_vocabulary(model, tokenizer, lacking)
    for bad in ([*range(size), 3], [0.5, 1.5], [[0, 1]], []):
        with pytest.raises(
            HarnessError, match=r"^trim: (expected a list of different whole ids|the keep-list lacks)"
        ):
            trim_vocabulary(model, tokenizer, bad)
    for bad in ([*range(size + 1)], [-1, *range(size)]):
        with pytest.raises(
            HarnessError, match=rf"^trim: expected ids of 0 to {size - 1} in the keep-list; got"
        ):
            trim_vocabulary(model, tokenizer, bad)
    other = unigram if tokenizer is wordpiece else wordpiece
    with pytest.raises(HarnessError, match=f"^trim: expected a tokenizer with one id for each of the {size}"):
        trim_vocabulary(model, other, everything)


def test_tokens_below_the_padding_id_must_stay(lines, shape_of):
    """XLM-R numbers positions from the padding token's id; a token before it must not go."""
    from transformers import XLMRobertaTokenizer

    pieces = [
        ("x", -1.0),
        ("<s>", 0.0),
        ("<pad>", 0.0),
        ("<unk>", 0.0),
        ("</s>", 0.0),
        ("▁a", -2.0),
        ("<mask>", 0.0),
    ]
    tokenizer = XLMRobertaTokenizer(vocab=pieces)
    model = build_model(shape_of("xlm-roberta", 7), seed=1)
    model.config.pad_token_id = 2
    with pytest.raises(
        HarnessError, match=r"expected every token up to the padding token, .* the keep-list lacks 'x'"
    ):
        trim_vocabulary(model, tokenizer, [1, 2, 3, 4, 5, 6])


def test_other_tokenizer_models_are_refused(encoder):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {str(number): number for number in range(9)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="0")))
    with pytest.raises(HarnessError, match="expected a tokenizer of WordPiece, Unigram, BPE; got WordLevel"):
        choose_tokens(np.zeros(9, dtype=np.int64), 5, tokenizer)
