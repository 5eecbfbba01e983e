"""Which tokens to keep: so many, those that cover a share of the text, or those in a share of the documents.

For several languages, count each by itself and `balance` the counts, or give what each wants as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from transformers import PreTrainedTokenizerBase

from harness.errors import HarnessError
from harness.models.tokenizers import vocabulary
from harness.models.tokenizers.counting import Counts
from harness.models.tokenizers.vocabulary import Ids, Spec

_BALANCED = 10**12


def choose_tokens(
    counts: Counts,
    size: int,
    tokenizer: PreTrainedTokenizerBase,
    characters: Iterable[str] = (),
    wanted: ArrayLike = (),
) -> Ids:
    """Gives exactly ``size`` ids to keep, ascending: those that must stay, then the most frequent.

    Of equally frequent tokens the lower id wins, which is the order in which they were learnt. A BPE token
    brings the tokens it is merged from.

    Args:
        counts: how often each id occurs, from `count_tokens`.
        size: how many ids to keep, special tokens included.
        tokenizer: whose ids they are.
        characters: single characters whose tokens stay, however rare.
        wanted: ids that come before the others, as `covering` or `in_documents` gives.

    Raises:
        HarnessError: more tokens than there are, or fewer than must stay.
    """
    if len(counts) != len(tokenizer):
        raise HarnessError(
            f"trim: wanted a count for each of {len(tokenizer):,} tokens; got {len(counts):,}; count again"
        )
    if size > len(counts):
        raise HarnessError(
            f"trim: wanted at most the {len(counts):,} tokens there are; got {size:,}; ask for fewer"
        )
    spec = vocabulary.read(tokenizer)
    forced = _forced(tokenizer, spec, characters)
    if size < len(forced):
        raise HarnessError(
            f"trim: wanted at least the {len(forced):,} special tokens and characters that must stay; "
            f"got {size:,}; ask for more"
        )
    return _fill(counts, size, np.union1d(forced, np.asarray(wanted, np.int64)), forced, spec)


def choose_requested_tokens(
    counts: Counts,
    wanted: ArrayLike,
    tokenizer: PreTrainedTokenizerBase,
    characters: Iterable[str] = (),
    *,
    multiple: int = 1,
) -> Ids:
    """Gives the wanted ids and those that must stay, ascending, and the most frequent others as padding.

    Holds: the number is a multiple of ``multiple``, or that of all tokens where it would be more.

    Args:
        counts: how often each id occurs; ranks the padding.
        wanted: ids to keep.
        tokenizer: whose ids they are.
        characters: single characters whose tokens stay.
        multiple: 64 makes the rows of the embeddings whole blocks of a matrix multiplication.

    Raises:
        HarnessError: a multiple below 1.
    """
    if multiple < 1:
        raise HarnessError(f"trim: wanted a multiple of 1 or more; got {multiple}; say 64, or 1 for none")
    spec = vocabulary.read(tokenizer)
    needed = np.union1d(_forced(tokenizer, spec, characters), np.asarray(wanted, np.int64))
    parents = vocabulary.parents(spec)
    if parents:
        needed = _with_parents(needed, len(counts), parents)
    size = min(len(counts), -(-len(needed) // multiple) * multiple)
    return choose_tokens(counts, size, tokenizer, characters, needed)


def select_by_coverage(counts: Counts, fraction: float) -> Ids:
    """Gives the fewest ids that make up a share of all tokens of the text, the most frequent first.

    Raises:
        HarnessError: a share outside 0 to 1.
    """
    _check_share(fraction)
    ranked = np.argsort(-counts, kind="stable")
    reached = np.cumsum(counts[ranked])
    enough = int(np.searchsorted(reached, fraction * reached[-1] * (1 - 1e-12))) + 1
    found: Ids = ranked[: min(enough, int((counts > 0).sum()))]
    return found


def select_by_document_frequency(counts: Counts, num_documents: int, fraction: float) -> Ids:
    """Gives the ids that occur in a share of the documents or more (0.0005: Eliquare; 0.00005: Geotrend).

    Args:
        counts: in how many documents each id occurs, from `count_documents`.
        num_documents: of the text.
        fraction: the least share; an id that no document has is never given.

    Raises:
        HarnessError: a share outside 0 to 1.
    """
    _check_share(fraction)
    return np.flatnonzero(counts >= max(1.0, fraction * num_documents * (1 - 1e-12))).astype(np.int64)


def balance_counts(counts: Sequence[Counts]) -> Counts:
    """Gives the counts of several languages as if each had as much text.

    Raises:
        HarnessError: no language, or one without a token.
    """
    totals = [int(one.sum()) for one in counts]
    if not totals or min(totals) == 0:
        raise HarnessError("trim: wanted text of each language; got a language without tokens; leave it out")
    shares = [one / total for one, total in zip(counts, totals, strict=True)]
    found: Counts = np.rint(np.sum(shares, axis=0) * _BALANCED).astype(np.int64)
    return found


def _check_share(fraction: float) -> None:
    if not 0 < fraction <= 1:
        raise HarnessError(
            f"trim: wanted a share above 0 and at most 1; got {fraction}; say 0.0005 for 0.05 %"
        )


def _forced(tokenizer: PreTrainedTokenizerBase, spec: Spec, characters: Iterable[str]) -> Ids:
    """Gives the ids that no choice may drop."""
    single = vocabulary.character_ids(tokenizer, spec, characters)
    return np.union1d(vocabulary.required(tokenizer, spec), single).astype(np.int64)


def _fill(counts: Counts, size: int, wanted: Ids, forced: Ids, spec: Spec) -> Ids:
    """Gives so many ids: the forced, then the wanted, then the others, the most frequent first in each."""
    ranked = np.argsort(-counts, kind="stable")
    first = ranked[np.isin(ranked, wanted) & ~np.isin(ranked, forced)]
    candidates = np.concatenate([forced, first, ranked[~np.isin(ranked, np.union1d(forced, wanted))]])
    parents = vocabulary.parents(spec)
    return np.sort(_with_parents(candidates, size, parents) if parents else candidates[:size])


def _with_parents(candidates: Ids, size: int, parents: dict[int, tuple[int, int]]) -> Ids:
    kept: set[int] = set()
    for candidate in candidates.tolist():
        needed, frontier = set(), [candidate]
        while frontier:
            token = frontier.pop()
            if token not in kept and token not in needed:
                needed.add(token)
                frontier.extend(parents.get(token, ()))
        if len(kept) + len(needed) <= size:
            kept |= needed
        if len(kept) == size:
            break
    return np.array(sorted(kept), dtype=np.int64)
