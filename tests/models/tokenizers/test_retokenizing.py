"""A learned vocabulary: the old one's special tokens and options, and rows made of those of its pieces."""

from __future__ import annotations

import pytest
import torch

from harness.errors import HarnessError
from harness.models.families.table import is_tied
from harness.models.loading.checkpoint import build_model, load_checkpoint, save_checkpoint
from harness.models.tokenizers import vocabulary
from harness.models.tokenizers.learning import count_words
from harness.models.tokenizers.retokenizing import average_rows, keeps_padding, learn_tokenizer, retokenize

SIZES = {"WordPiece": 560, "BPE": 560, "Unigram": 420}
"""Sizes that the text supports, without the tokens of bytes."""


@pytest.fixture(scope="module")
def more_lines(lines):
    words = sorted({word for line in lines for word in line.split()})
    pairs = [f"{one}{two[:4]} {two}" for one, two in zip(words, words[7:], strict=False)]
    return [*lines, *pairs]


@pytest.fixture(scope="module")
def learned(configuration, more_lines):
    tokenizer = configuration.tokenizer
    words = count_words(tokenizer, more_lines)
    spec = vocabulary.read(tokenizer)
    size = len(vocabulary.byte_ids(spec)) + SIZES[spec["model"]["type"]]
    return learn_tokenizer(tokenizer, words, size), size


def test_everything_but_the_tokens_stays(configuration, learned):
    old, (result, size) = vocabulary.read(configuration.tokenizer), learned
    new = vocabulary.read(result.tokenizer)
    assert len(result.tokenizer) == len(result.pieces) == size
    assert sorted(result.tokenizer.get_vocab().values()) == list(range(size))
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        assert new[part] == old[part]
    options = [
        {k: v for k, v in one["model"].items() if k not in {"vocab", "merges", "unk_id"}}
        for one in (old, new)
    ]
    assert options[0] == options[1]
    assert [one["content"] for one in new["added_tokens"]] == [one["content"] for one in old["added_tokens"]]
    assert result.tokenizer.special_tokens_map == configuration.tokenizer.special_tokens_map


def test_shared_tokens_keep_their_rows_and_others_have_the_mean_of_their_pieces(configuration, learned):
    result, size = learned
    model = retokenize(configuration.model, configuration.tokenizer, result)
    old_ids = configuration.tokenizer.get_vocab()
    before_VD, after_ND = (one.get_input_embeddings().weight for one in (configuration.model, model))
    bias_V, bias_N = (one.cls.predictions.bias for one in (configuration.model, model))
    assert after_ND.shape == (size, before_VD.shape[1])
    shared = 0
    for token, number in result.tokenizer.get_vocab().items():
        pieces = result.pieces[number]
        if token in old_ids:
            shared += 1
            assert pieces == [old_ids[token]]
            assert torch.equal(after_ND[number], before_VD[old_ids[token]])
            assert bias_N[number] == bias_V[old_ids[token]]
        elif pieces:
            torch.testing.assert_close(after_ND[number], before_VD[pieces].mean(0))
            torch.testing.assert_close(bias_N[number], bias_V[pieces].mean())
    assert shared == result.num_shared < size
    assert is_tied(model) == is_tied(configuration.model)


def test_pieces_spell_their_token(configuration, learned):
    """The pieces of a token, put together, are the token, but for marks and characters without a token."""
    spec = vocabulary.read(configuration.tokenizer)
    names = {number: token for token, number in configuration.tokenizer.get_vocab().items()}
    prefix, suffix = vocabulary.read_marks(spec)
    known = {character for name in names.values() for character in name}
    spelled = 0
    for token, number in learned[0].tokenizer.get_vocab().items():
        pieces = [names[one] for one in learned[0].pieces[number]]
        if known.issuperset(token) and not any(one.startswith("<0x") for one in pieces):
            assert pieces
            bare = [one.removeprefix(prefix).removesuffix(suffix) for one in (*pieces, token)]
            assert "".join(bare[:-1]) == bare[-1]
            spelled += 1
    assert spelled > 100


def test_latin_text_has_fewer_tokens(configuration, more_lines, learned):
    tokenizers = configuration.tokenizer, learned[0].tokenizer
    latin = [line for line in more_lines if max(map(ord, line)) < 0x250]
    before, after = (sum(len(one(line).input_ids) for line in latin) for one in tokenizers)
    assert after < before


def test_same_text_makes_the_same_tokenizer(configuration, more_lines, learned):
    words = count_words(configuration.tokenizer, reversed(more_lines))
    again = learn_tokenizer(configuration.tokenizer, words, learned[1])
    assert again.tokenizer.backend_tokenizer.to_str() == learned[0].tokenizer.backend_tokenizer.to_str()


def test_result_is_saved_and_read_as_it_is(configuration, more_lines, learned, tmp_path):
    model = retokenize(configuration.model, configuration.tokenizer, learned[0])
    save_checkpoint(model, learned[0].tokenizer, tmp_path)
    read = load_checkpoint(tmp_path)
    assert [read.tokenizer(line).input_ids for line in more_lines] == [
        learned[0].tokenizer(line).input_ids for line in more_lines
    ]
    assert read.model.config.vocab_size == learned[1]
    assert read.model.config.pad_token_id == read.tokenizer.pad_token_id


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_untied_decoder_has_its_own_means(family, wordpiece, unigram, shape_of, lively, more_lines):  # noqa: PLR0917
    tokenizer = {"bert": wordpiece, "xlm-roberta": unigram}[family]
    shape = shape_of(family, len(tokenizer)).model_copy(update={"tied": False})
    model = lively(build_model(shape, seed=1))
    new = learn_tokenizer(
        tokenizer, count_words(tokenizer, more_lines), 250, up_to_padding=keeps_padding(model)
    )
    result = retokenize(model, tokenizer, new)
    assert not is_tied(result)
    before_VD, after_ND = (one.get_output_embeddings().weight for one in (model, result))
    mixed = next(number for number, pieces in enumerate(new.pieces) if len(pieces) > 1)
    torch.testing.assert_close(after_ND[mixed], before_VD[new.pieces[mixed]].mean(0))
    if keeps_padding(model):
        assert new.tokenizer.pad_token_id == tokenizer.pad_token_id


def test_tokens_without_pieces_have_the_mean_of_all_rows():
    table_VD = torch.arange(6.0).view(3, 2)
    means_ND = average_rows(table_VD, [[], [2], [0, 1]])
    assert means_ND.tolist() == [[2, 3], [4, 5], [1, 2]]
    assert average_rows(table_VD[:, 0], [[0, 2], []]).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("size", "given", "message"),
    [
        (5, True, "retokenize: expected more than the 5 special tokens; got 5; ask for more"),
        (100_000, True, "expected 99,995 tokens besides the special ones; got"),
        (400, False, "retokenize: expected lines of text; got none; look at the corpus"),
    ],
)
@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_impossible_sizes_are_refused(kind, size, given, message, more_lines, request):  # noqa: PLR0917
    tokenizer = request.getfixturevalue(kind)
    words = count_words(tokenizer, more_lines if given else [])
    with pytest.raises(HarnessError) as error:
        learn_tokenizer(tokenizer, words, size)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_text_of_special_tokens_is_never_learned(unigram, more_lines):
    words = count_words(unigram, [f"{line} <mask> <s>" for line in more_lines * 20])
    tokens = learn_tokenizer(unigram, words, 250).tokenizer.get_vocab()
    assert sum("mask" in token for token in tokens) == 1
