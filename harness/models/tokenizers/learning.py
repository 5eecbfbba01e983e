"""Learn tokens from text for a tokenizer whose normaliser and pre-tokeniser stay as they are.

The same words give the same tokens, as in `harness.models.tokenizers.training`.
"""

from __future__ import annotations

import io
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase

from harness.errors import HarnessError
from harness.models.loading.tokenizer_json import bare_backend
from harness.models.tokenizers import vocabulary
from harness.models.tokenizers.training import read_size_bound
from harness.models.tokenizers.vocabulary import Spec

Words = Counter[str]
"""How often each word occurs, as normaliser and pre-tokeniser leave it."""

_ALPHABET_LIMIT, _ALPHABET_FRACTION, _ALPHABET_COVERAGE = 1000, 0.25, 0.9995
_BEFORE_SPACES = pre_tokenizers.Split(Regex("▁+[^▁]*"), "isolated")
"""Cuts before each marked space where a pre-tokeniser leaves whole lines, as sentencepiece does."""
_CUT = "\0"
_UNSAFE = ("\t", "\n", "\r", _CUT)
_COPIES = 1 << 12


class LearnedTokens(NamedTuple):
    """New tokens in the order of their ids.

    Attributes:
        tokens: as the vocabulary writes them.
        scores: of each token, for Unigram.
        merges: the pairs that BPE merges, in order.
    """

    tokens: list[str]
    scores: list[float]
    merges: list[list[str]]


def count_words(tokenizer: PreTrainedTokenizerBase, lines: Iterable[str]) -> Words:
    """Count the words that a tokenizer's normaliser and pre-tokeniser make of text."""
    backend = bare_backend(tokenizer)
    own = [] if backend.pre_tokenizer is None else [backend.pre_tokenizer]
    splitter, words = pre_tokenizers.Sequence([*own, _BEFORE_SPACES]), Words()
    for line in lines:
        text = line if backend.normalizer is None else backend.normalizer.normalize_str(line)
        words.update(word for word, _ in splitter.pre_tokenize_str(text))
    return words


def learn_tokens(spec: Spec, words: Words, number: int, taken: Iterable[str]) -> LearnedTokens:
    """Learn so many tokens of the type of a tokenizer's model.

    The alphabet is the most frequent characters, at most 1,000, and at most a quarter of the tokens unless
    that would leave out more than one character in 2,000 of the text. Words are cut at other characters.

    Args:
        spec: the JSON of the tokenizer.
        words: to learn from.
        number: of tokens.
        taken: tokens that the vocabulary has already, and that words are cut at.

    Raises:
        HarnessError: the words have too few different parts for so many tokens, or too many characters.
    """
    words = _cut_words(words, [*_UNSAFE, *(vocabulary.strip_marks(spec, one) for one in taken)])
    characters = Counter[str]()
    for word, count in words.items():
        for character in word:
            characters[character] += count
    if not characters:
        raise HarnessError("retokenize: expected lines of text; got none; look at the corpus")
    alphabet = {*_choose_alphabet(characters, number), *vocabulary.created_characters(spec)}
    words = _cut_words(words, sorted(characters.keys() - alphabet))
    learned = (
        _learn_unigram(words, number)
        if spec["model"]["type"] == "Unigram"
        else _learn_merges(spec, words, number)
    )
    if len(learned.tokens) != number:
        raise _wrong_size(number, len(learned.tokens))
    return learned


def _choose_alphabet(counts: Counter[str], number: int) -> list[str]:
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    covered = list(itertools.accumulate(counts[character] for character in ranked))
    fewest = 1 + sum(one < _ALPHABET_COVERAGE * covered[-1] for one in covered)
    return ranked[: min(_ALPHABET_LIMIT, max(fewest, int(number * _ALPHABET_FRACTION)))]


def _cut_words(words: Words, at: Sequence[str]) -> Words:
    """Return the parts of words between some strings, which are left out."""
    everything = _CUT.join(words)
    present = [one for one in at if one in everything]
    cut = Words()
    for word, count in words.items():
        for one in present:
            word = word.replace(one, _CUT)  # noqa: PLW2901
        for part in word.split(_CUT):
            if part:
                cut[part] += count
    return cut


def _wrong_size(expected: int, got: int) -> HarnessError:
    advice = "give it more text or ask for fewer" if got < expected else "ask for more"
    return HarnessError(
        f"retokenize: expected {expected:,} tokens besides the special ones; got {got:,} from this text; "
        f"{advice}"
    )


def _learn_unigram(words: Words, number: int) -> LearnedTokens:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(f"{word}\t{words[word]}" for word in sorted(words)),
            input_format="tsv",
            model_writer=model,
            model_type="unigram",
            vocab_size=number + 1,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            character_coverage=1.0,
            max_sentence_length=1 << 16,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        bound = read_size_bound(str(error))
        if bound is not None:
            raise _wrong_size(number, bound - 1) from error
        reason = " ".join(str(error).split())
        raise HarnessError(
            f"retokenize: expected {number:,} tokens; got: {reason}; ask for another size"
        ) from error
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())  # type: ignore[attr-defined]
    pieces = [piece for piece in proto.pieces if piece.type == piece.NORMAL]
    return LearnedTokens([one.piece for one in pieces], [one.score for one in pieces], [])


def _learn_merges(spec: Spec, words: Words, number: int) -> LearnedTokens:
    """Learn the tokens of BPE, which WordPiece's are too; its characters come first, in a fixed order."""
    prefix, suffix = vocabulary.read_marks(spec)
    characters = sorted(vocabulary.created_characters(spec))
    forms = sorted(
        set(_train_merges(words, 0, characters, (prefix, suffix))["vocab"]),
        key=lambda form: (bool(prefix) and form.startswith(prefix), form),
    )
    if len(forms) > number:
        raise _wrong_size(number, len(forms))
    trained = _train_merges(words, number, forms, (prefix, suffix))
    ids: dict[str, int] = trained["vocab"]
    return LearnedTokens(sorted(ids, key=ids.__getitem__), [], [list(pair) for pair in trained["merges"]])


def _train_merges(words: Words, size: int, first: Sequence[str], marks: tuple[str, str]) -> Spec:
    """Return the JSON of a BPE model of so many tokens, which begin with some."""
    names = ("continuing_subword_prefix", "end_of_word_suffix")
    given: dict[str, Any] = {name: mark for name, mark in zip(names, marks, strict=True) if mark}
    backend = Tokenizer(models.BPE(**given))
    backend.pre_tokenizer = pre_tokenizers.CharDelimiterSplit(_CUT)
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(first), show_progress=False, **given)
    backend.train_from_iterator(_repeat_words(words), trainer)
    trained: Spec = json.loads(backend.to_str())["model"]
    return trained


def _repeat_words(words: Words) -> Iterator[str]:
    """Yield each word as often as it occurs, thousands in one string."""
    for word in sorted(words):
        for start in range(0, words[word], _COPIES):
            yield _CUT.join([word] * min(_COPIES, words[word] - start))
