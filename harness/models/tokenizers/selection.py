"""Choose the tokens to keep: a number of them, or by a share of the text, of the documents or of the tokens.

For several languages, count each by itself and use `balance_counts`, or request the union of their tokens.
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

_BALANCED_TOTAL = 10**12


def choose_tokens(
    counts: Counts,
    size: int,
    tokenizer: PreTrainedTokenizerBase,
    characters: Iterable[str] = (),
    preferred: ArrayLike = (),
) -> Ids:
    """Return exactly ``size`` ids to keep, ascending: those that must stay, then the most frequent.

    Of equally frequent tokens the lower id stays, which is the order in which they were learnt. A BPE token
    brings the tokens that it is merged from.

    Args:
        counts: how often each id occurs, from `count_tokens`.
        size: how many ids to keep, special tokens included.
        tokenizer: of the ids.
        characters: single characters whose tokens stay, however rare.
        preferred: ids that come before more frequent ones.

    Raises:
        HarnessError: more tokens than there are, or fewer than must stay.
    """
    if len(counts) != len(tokenizer):
        raise HarnessError(
            f"trim: expected a count for each of {len(tokenizer):,} tokens; got {len(counts):,}; count again"
        )
    if size > len(counts):
        raise HarnessError(
            f"trim: expected at most the {len(counts):,} tokens there are; got {size:,}; ask for fewer"
        )
    spec = vocabulary.read(tokenizer)
    forced = _forced(tokenizer, spec, characters)
    if size < len(forced):
        raise HarnessError(
            f"trim: expected at least the {len(forced):,} special tokens and characters that must stay; "
            f"got {size:,}; ask for more"
        )
    return _fill(counts, size, np.union1d(forced, np.asarray(preferred, np.int64)), forced, spec)


def choose_requested_tokens(
    counts: Counts,
    requested: ArrayLike,
    tokenizer: PreTrainedTokenizerBase,
    characters: Iterable[str] = (),
    *,
    multiple: int = 1,
    most: int | None = None,
) -> Ids:
    """Return the requested ids and those that must stay, ascending, filled up with the most frequent others.

    Invariants: the number is a multiple of ``multiple``, or the number of all tokens if that is less; it is
    at most ``most``, to which the most frequent of the requested ids are kept.

    Args:
        counts: how often each id occurs; ranks the others.
        requested: ids to keep, as from `select_by_coverage` or `select_by_document_frequency`.
        tokenizer: of the ids.
        characters: single characters whose tokens stay.
        multiple: 64 makes the rows of the embeddings whole blocks of a matrix multiplication.
        most: how many ids may stay; None: any number.

    Raises:
        HarnessError: a multiple below 1, or ``most`` below the number of ids that must stay.
    """
    if multiple < 1:
        raise HarnessError(f"trim: expected a multiple of 1 or more; got {multiple}; use 64, or 1 for none")
    spec = vocabulary.read(tokenizer)
    needed = np.union1d(_forced(tokenizer, spec, characters), np.asarray(requested, np.int64))
    parents = vocabulary.parents(spec)
    if parents:
        needed = _with_parents(needed, len(counts), parents)
    size = min(len(counts), -(-len(needed) // multiple) * multiple)
    if most is not None:
        size = min(size, most)
    return choose_tokens(counts, size, tokenizer, characters, needed)


def select_by_coverage(counts: Counts, fraction: float) -> Ids:
    """Return the fewest ids that make up a share of all tokens of the text, the most frequent first.

    Raises:
        HarnessError: a share outside 0 to 1.
    """
    _check_share(fraction)
    ranked = np.argsort(-counts, kind="stable")
    reached = np.cumsum(counts[ranked])
    enough = int(np.searchsorted(reached, fraction * reached[-1] * (1 - 1e-12))) + 1
    selected: Ids = ranked[: min(enough, int((counts > 0).sum()))]
    return selected


def select_by_document_frequency(counts: Counts, num_documents: int, fraction: float) -> Ids:
    """Return the ids that occur in a share of the documents or more (0.0005: Eliquare; 0.00005: Geotrend).

    Args:
        counts: in how many documents each id occurs, from `count_documents`.
        num_documents: of the text.
        fraction: the least share; an id that no document has is never returned.

    Raises:
        HarnessError: a share outside 0 to 1.
    """
    _check_share(fraction)
    return np.flatnonzero(counts >= max(1.0, fraction * num_documents * (1 - 1e-12))).astype(np.int64)


def select_by_probability(counts: Counts, least: float) -> Ids:
    """Return the ids of which each makes up a share of all tokens of the text or more.

    Source: Ansell et al. 2023 (BiStil), ``trim_vocab.py``, at 1e-6 in the text of either language.

    Raises:
        HarnessError: a share outside 0 to 1.
    """
    return select_by_document_frequency(counts, int(counts.sum()), least)


def balance_counts(counts: Sequence[Counts]) -> Counts:
    """Return the summed counts of several languages as if each had as much text.

    Raises:
        HarnessError: no language, or a language without a token.
    """
    totals = [int(language.sum()) for language in counts]
    if not totals or min(totals) == 0:
        raise HarnessError(
            "trim: expected text of each language; got a language without tokens; leave it out"
        )
    shares = [language / total for language, total in zip(counts, totals, strict=True)]
    balanced: Counts = np.rint(np.sum(shares, axis=0) * _BALANCED_TOTAL).astype(np.int64)
    return balanced


def _check_share(fraction: float) -> None:
    if not 0 < fraction <= 1:
        raise HarnessError(
            f"trim: expected a share above 0 and at most 1; got {fraction}; write 0.0005 for 0.05 %"
        )


def _forced(tokenizer: PreTrainedTokenizerBase, spec: Spec, characters: Iterable[str]) -> Ids:
    """Return the ids that no choice may drop."""
    single = vocabulary.character_ids(tokenizer, spec, characters)
    return np.union1d(vocabulary.required(tokenizer, spec), single).astype(np.int64)


def _fill(counts: Counts, size: int, preferred: Ids, forced: Ids, spec: Spec) -> Ids:
    """Return ``size`` ids: forced, then preferred, then other ids, each by falling frequency."""
    ranked = np.argsort(-counts, kind="stable")
    first = ranked[np.isin(ranked, preferred) & ~np.isin(ranked, forced)]
    candidates = np.concatenate([forced, first, ranked[~np.isin(ranked, np.union1d(forced, preferred))]])
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
