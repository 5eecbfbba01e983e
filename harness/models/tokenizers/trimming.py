"""Trim the vocabulary: the model and the tokenizer with only the kept tokens.

Axes: **V** vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from harness.errors import HarnessError
from harness.families import FAMILIES
from harness.models.families.table import find_layout
from harness.models.loading.checkpoint import Checkpoint, assemble_model
from harness.models.loading.tokenizer import check_ids_match_rows
from harness.models.surgery.axes import select_indices
from harness.models.tokenizers import vocabulary
from harness.models.tokenizers.coverage import Certificate, certify_trimming
from harness.models.tokenizers.vocabulary import Ids, Spec

_SPECIAL_IDS = ("pad", "bos", "eos", "sep", "cls", "mask", "unk", "decoder_start")


class Trimmed(NamedTuple):
    """A model and its tokenizer with fewer tokens.

    Attributes:
        model: the model.
        tokenizer: its tokenizer.
        certificate: the differences on held-out lines; None when no lines were given.
        kept: the old ids in the order of the new ones.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    certificate: Certificate | None
    kept: Ids


def trim_vocabulary(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    keep: ArrayLike,
    lines: Sequence[str] = (),
) -> Trimmed:
    """Return the model and the tokenizer with only the kept ids, renumbered in ascending order.

    Invariants: embedding rows, decoder rows and decoder bias stay with their token, tied or not; text whose
    tokens are all kept has the same tokens, and the same logits of them.

    Args:
        model: the model to trim.
        tokenizer: its tokenizer.
        keep: the ids to keep, in any order.
        lines: held-out text to certify the result on.

    Raises:
        HarnessError: a keep-list with repeated or unknown ids or without a special token, or a tokenizer
            that does not match the embedding rows.
    """
    check_ids_match_rows(model, tokenizer, "trim")
    spec = vocabulary.read(tokenizer)
    kept = _checked(keep, tokenizer, spec)
    new = vocabulary.renumber(kept, len(tokenizer))
    _check_padding(model, tokenizer, new)
    small = _replace_vocabulary(tokenizer, spec, kept, new)
    result = _trim_model(model, kept, new)
    before, after = Checkpoint(model, tokenizer), Checkpoint(result, small)
    return Trimmed(result, small, certify_trimming(before, after, kept, lines) if lines else None, kept)


def trim_tokenizer(tokenizer: PreTrainedTokenizerBase, keep: ArrayLike) -> PreTrainedTokenizerBase:
    """Return the tokenizer with only the kept ids, as `trim_vocabulary` does, without a model.

    Raises:
        HarnessError: as of `trim_vocabulary`.
    """
    spec = vocabulary.read(tokenizer)
    kept = _checked(keep, tokenizer, spec)
    return _replace_vocabulary(tokenizer, spec, kept, vocabulary.renumber(kept, len(tokenizer)))


def drop_unnamed_rows(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Trimmed:
    """Return the model without the rows of its embeddings that no token has, also between rows of tokens.

    Invariants: every text has the tokens that it had.

    Raises:
        HarnessError: two tokens have one id, or a row before the padding token has none while positions are
            numbered from its id.
    """
    spec, tokens = vocabulary.read(tokenizer), tokenizer.get_vocab()
    own = vocabulary.number_tokens(spec)
    names: dict[int, str] = {}
    for token, number in tokens.items():
        if number in names:
            raise HarnessError(
                f"trim: expected an id of its own for each token; got {number:,} for '{names[number]}' "
                f"and '{token}'; give each another id"
            )
        names[number] = token
    added = sorted(number for token, number in tokens.items() if token not in own)
    kept = np.array([*sorted({*names} - {*added}), *added], dtype=np.int64)
    new = vocabulary.renumber(kept, 1 + max(names))
    _check_padding(model, tokenizer, new)
    small = _replace_vocabulary(tokenizer, spec, kept, new)
    return Trimmed(_trim_model(model, kept, new), small, None, kept)


def _replace_vocabulary(
    tokenizer: PreTrainedTokenizerBase, spec: Spec, kept: Ids, new: Ids
) -> PreTrainedTokenizerBase:
    """Return the tokenizer with only the kept ids, after a check that each token has its new id."""
    small = vocabulary.replace_backend(tokenizer, vocabulary.rewrite(spec, kept, new))
    numbers, expected = small.get_vocab(), new.tolist()
    for token, old in tokenizer.get_vocab().items():
        number = numbers.get(token, -1)
        if number != expected[old]:
            raise HarnessError(
                f"trim: expected the id {expected[old]:,} for the token '{token}'; got {number:,}, since the "
                "tokenizer numbers its added tokens by itself; number them after all others"
            )
    return small


def _checked(keep: ArrayLike, tokenizer: PreTrainedTokenizerBase, spec: Spec) -> Ids:
    given = np.asarray(keep)
    kept = np.unique(given)
    if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer) or len(kept) != len(given):
        raise HarnessError("trim: expected a list of different whole ids; got others or repeats; correct it")
    if len(kept) and (kept[0] < 0 or kept[-1] >= len(tokenizer)):
        raise HarnessError(
            f"trim: expected ids of 0 to {len(tokenizer) - 1:,} in the keep-list; "
            f"got {kept[0]:,} to {kept[-1]:,}; use the ids of this tokenizer"
        )
    ids = set(kept.tolist())
    lacking = sorted(vocabulary.special_ids(tokenizer, spec) - ids)
    if lacking:
        token = tokenizer.convert_ids_to_tokens(lacking[0])
        raise HarnessError(
            f"trim: the keep-list lacks the special token '{token}'; add it, or choose by count"
        )
    lacking = sorted(vocabulary.byte_ids(spec) - ids)
    if lacking:
        token = tokenizer.convert_ids_to_tokens(lacking[0])
        raise HarnessError(
            f"trim: the keep-list lacks the byte '{token}', without which text becomes unknown; add it, or "
            "choose by count"
        )
    return kept.astype(np.int64)


def _check_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, new: Ids) -> None:
    padding = model.config.pad_token_id
    if FAMILIES[find_layout(model).model_type].positions_follow_padding and new[padding] != padding:
        token = tokenizer.convert_ids_to_tokens(int(np.flatnonzero(new[:padding] < 0)[0]))
        raise HarnessError(
            "trim: expected every token up to the padding token, as positions are numbered from its id; "
            f"the keep-list lacks '{token}'; add it"
        )


def _trim_model(model: PreTrainedModel, kept: Ids, new: Ids) -> PreTrainedModel:
    config = copy_config(model, len(kept), new)
    return assemble_model(find_layout(model), config, select_indices(model, {"V": torch.from_numpy(kept)}))


def copy_config(model: PreTrainedModel, size: int, new: Ids) -> PretrainedConfig:
    """Return a model's configuration for a vocabulary of another size, with new ids of special tokens."""
    config: PretrainedConfig = copy.deepcopy(model.config)
    config.vocab_size = size
    for role in _SPECIAL_IDS:
        old = getattr(config, f"{role}_token_id", None)
        if isinstance(old, int):
            setattr(config, f"{role}_token_id", int(new[old]))
    return config
