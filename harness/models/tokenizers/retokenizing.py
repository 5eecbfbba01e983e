"""Give a model a vocabulary learned from a language's text, with rows made of those of its old tokens.

Axes: **N** new tokens, **V** vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.errors import HarnessError
from harness.families import FAMILIES
from harness.models.families.table import find_layout
from harness.models.loading.checkpoint import assemble_model
from harness.models.loading.tokenizer import check_ids_match_rows
from harness.models.surgery.axes import select_indices
from harness.models.tokenizers import vocabulary
from harness.models.tokenizers.learning import Words, learn_tokens
from harness.models.tokenizers.trimming import copy_config
from harness.models.tokenizers.vocabulary import Ids


class NewTokenizer(NamedTuple):
    """A tokenizer with learned tokens.

    Attributes:
        tokenizer: with normaliser, pre-tokeniser, post-processor and special tokens of the old one.
        new: the new id of each old special token, -1 of every other token.
        pieces: of each new token the old ids that its text has, one where the old vocabulary has the token.
        num_shared: new tokens that the old vocabulary has.
    """

    tokenizer: PreTrainedTokenizerBase
    new: Ids
    pieces: list[list[int]]
    num_shared: int


def learn_tokenizer(
    tokenizer: PreTrainedTokenizerBase, words: Words, size: int, *, up_to_padding: bool = False
) -> NewTokenizer:
    """Return a tokenizer of so many tokens: the old one's special tokens, and tokens learned from words.

    The type (WordPiece, Unigram, BPE) and its options stay. Tokens of bytes stay too. Special tokens come
    first, in their old order, except for those that were added to the old vocabulary, which come last.

    Args:
        tokenizer: the old one.
        words: of a text, as `harness.models.tokenizers.learning.count_words` counts them.
        size: of the vocabulary, special tokens counted.
        up_to_padding: also keep all tokens before the padding token, so that its id stays.

    Raises:
        HarnessError: no text, too little text for so many tokens, or fewer tokens than must stay.
    """
    spec = vocabulary.read(tokenizer)
    kept = vocabulary.special_ids(tokenizer, spec) | vocabulary.byte_ids(spec)
    kept |= set(range(tokenizer.pad_token_id)) if up_to_padding else set()
    names, own = tokenizer.convert_ids_to_tokens(sorted(kept)), vocabulary.number_tokens(spec)
    first = sorted(own[name] for name in names if name in own)
    added = sorted(kept - {*first})
    if len(kept) >= size:
        raise HarnessError(
            f"retokenize: expected more than the {len(kept):,} special tokens; got {size:,}; ask for more"
        )
    learned = learn_tokens(spec, words, size - len(kept), names)
    new = np.full(len(tokenizer), -1, dtype=np.int64)
    new[first], new[added] = np.arange(len(first)), np.arange(size - len(added), size)
    written = vocabulary.rewrite(spec, np.array(sorted(kept), dtype=np.int64), new)
    vocabulary.add_tokens(written, learned.tokens, learned.scores, learned.merges)
    result = vocabulary.replace_backend(tokenizer, written)
    ordered = _order_tokens(result, size)
    pieces = vocabulary.split_tokens(spec, ordered[len(first) : size - len(added)])
    shared = sum(token in own for token in learned.tokens)
    pieces = [*([old] for old in first), *pieces, *([old] for old in added)]
    return NewTokenizer(result, new, pieces, len(kept) + shared)


def _order_tokens(tokenizer: PreTrainedTokenizerBase, size: int) -> list[str]:
    """Return the tokens in the order of their ids, after a check that each id has one token."""
    ids = tokenizer.get_vocab()
    tokens = sorted(ids, key=ids.__getitem__)
    if sorted(ids.values()) != list(range(size)):
        raise HarnessError(
            f"retokenize: expected one token for each id below {size:,}; got {len(tokens):,} tokens up to "
            f"{max(ids.values(), default=0):,}, as the tokenizer numbers its added tokens by itself; trim it"
        )
    return tokens


def retokenize(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, new: NewTokenizer
) -> PreTrainedModel:
    """Return the model with a row of embeddings, of the decoder and of its bias for each new token.

    Invariants: a token that both vocabularies have keeps its rows; another token's rows are the mean of those
    of its pieces, or of all rows where it has none. Tied tables stay tied.

    Args:
        model: the model; it is left as it was.
        tokenizer: the model's.
        new: of `learn_tokenizer`, from the same tokenizer.

    Raises:
        HarnessError: a tokenizer that does not match the embedding rows.
    """
    check_ids_match_rows(model, tokenizer, "retokenize")
    layout, tensors = find_layout(model), select_indices(model, {})
    for name, tensor in tensors.items():
        if layout.locate(name)[1][:1] == ("V",):
            tensors[name] = average_rows(tensor, new.pieces)
    return assemble_model(layout, copy_config(model, len(new.pieces), new.new), tensors)


def average_rows(table: Tensor, pieces: Sequence[Sequence[int]]) -> Tensor:
    """Return the mean of some rows of a table (or numbers of a vector) for each list of their indices."""
    rows_VX = table if table.dim() == 2 else table[:, None]
    lengths = [len(one) for one in pieces]
    starts = torch.tensor([0, *itertools.accumulate(lengths)][:-1])
    indices = torch.tensor([index for one in pieces for index in one])
    means_NX = functional.embedding_bag(indices, rows_VX, starts, mode="mean")
    means_NX[torch.tensor(lengths) == 0] = rows_VX.mean(0)
    return means_NX.reshape(-1, *table.shape[1:])


def keeps_padding(model: PreTrainedModel) -> bool:
    """Return whether the id of the padding token must stay, as positions are numbered from it."""
    return FAMILIES[find_layout(model).model_type].positions_follow_padding
