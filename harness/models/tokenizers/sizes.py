"""Show how text is tokenised with some of a vocabulary's tokens, so that a number of them can be chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from harness.models.tokenizers import vocabulary
from harness.models.tokenizers.coverage import (
    compare_words,
    count_segmented,
    find_unknown_fraction,
    segment_words,
)
from harness.models.tokenizers.learning import Words, count_words
from harness.models.tokenizers.retokenizing import learn_tokenizer
from harness.models.tokenizers.trimming import trim_tokenizer
from harness.models.tokenizers.vocabulary import Ids


@dataclass(frozen=True)
class TokenisedText:
    """How a text is tokenised with the tokens that stay.

    Attributes:
        num_words: of the text.
        words_unchanged_fraction: share of words with the tokens of the whole vocabulary.
        tokens_per_word: mean.
        unknown_fraction: share of unknown tokens.
    """

    num_words: int
    words_unchanged_fraction: float
    tokens_per_word: float
    unknown_fraction: float


@dataclass(frozen=True)
class VocabularySize:
    """A number of tokens to keep or to learn, and how texts are tokenised with them.

    Attributes:
        rule: by which the tokens were chosen.
        num_tokens: that stay or are learned, special tokens and single characters of the text counted.
        texts: by name.
    """

    rule: str
    num_tokens: int
    texts: Mapping[str, TokenisedText]


def learn_by_number(
    tokenizer: PreTrainedTokenizerBase, languages: Sequence[Sequence[Sequence[str]]], size: int
) -> PreTrainedTokenizerBase:
    """Return a tokenizer of so many tokens learned from documents, as if each language had as much text.

    Raises:
        HarnessError: the text is too little for so many tokens, or has too many characters.
    """
    counted = [count_words(tokenizer, (line for document in one for line in document)) for one in languages]
    most, words = max(one.total() for one in counted), Words()
    for one in counted:
        words.update({word: round(count * most / one.total()) for word, count in one.items()})
    return learn_tokenizer(tokenizer, words, size).tokenizer


def measure_sizes(
    tokenizer: PreTrainedTokenizerBase,
    choices: Mapping[str, Ids | PreTrainedTokenizerBase],
    texts: Mapping[str, Sequence[str]],
) -> list[VocabularySize]:
    """Tokenise texts with some of the tokens, or with other tokens, and compare with all of them.

    Args:
        tokenizer: with all tokens.
        choices: by rule, the ids that stay, or a tokenizer with learned tokens.
        texts: by name, the lines of each.
    """
    spec, names = vocabulary.read(tokenizer), tokenizer.get_vocab()
    unknown_word = tokenizer.unk_token_id if spec["model"]["type"] == "WordPiece" else None
    whole = {name: segment_words(tokenizer, lines) for name, lines in texts.items()}
    sizes = []
    for rule, choice in choices.items():
        small = trim_tokenizer(tokenizer, choice) if isinstance(choice, np.ndarray) else choice
        ids, new = small.get_vocab(), np.full(1 + max(names.values()), -1, dtype=np.int64)
        for token, number in names.items():
            new[number] = ids.get(token, -1)
        tokenised = {}
        for name, lines in whole.items():
            small_lines = segment_words(small, texts[name])
            counts = compare_words(lines, small_lines, new, unknown_word)
            num_words = max(1, counts["words"])
            tokenised[name] = TokenisedText(
                counts["words"],
                counts["words_unchanged"] / num_words,
                count_segmented(small_lines) / num_words,
                find_unknown_fraction(small_lines, small.unk_token_id),
            )
        sizes.append(VocabularySize(rule, len(small), tokenised))
    return sizes
