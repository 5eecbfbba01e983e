"""Measure on held-out text and on drawn text what a trimmed vocabulary changed.

Shapes: **L** length, **V** vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.families import max_input_tokens
from harness.models.loading.checkpoint import Checkpoint
from harness.models.loading.tokenizer_json import bare_backend
from harness.models.tokenizers import vocabulary
from harness.models.tokenizers.lost_characters import (
    count_by_script,
    draw_trial_texts,
    find_lost_characters,
    select_texts_without,
)
from harness.models.tokenizers.vocabulary import Ids, renumber

_PROBED_LINES = 8
_PROBED_TOKENS = 128


@dataclass(frozen=True)
class Certificate:
    """The differences that trimming made on held-out text, and on text drawn over all of Unicode.

    A *word* is a piece that the tokenizer's pre-tokeniser cuts. It *needs no dropped token* when all its old
    tokens were kept; then it must have the same tokens still, so that ``num_words_altered`` must be 0. A
    WordPiece word that was unknown needs the tokens on which the search for its pieces ended, too: one that
    is known now is counted in ``num_words_newly_known`` and is not altered.

    Attributes:
        num_tokens_before: size of the vocabulary before.
        num_tokens_after: size of the vocabulary after.
        num_lines: held-out lines that were compared.
        num_words: words in them.
        lines_unchanged_fraction: share of lines with the same tokens as before.
        words_unchanged_fraction: share of words with the same tokens as before.
        words_kept_fraction: share of words that need no dropped token.
        num_words_altered: words that need no dropped token, yet have other tokens.
        unknown_fraction_before: share of unknown tokens among all before.
        unknown_fraction_after: share of unknown tokens among all after.
        tokens_per_word_before: mean number of tokens of a word before.
        tokens_per_word_after: mean number of tokens of a word after.
        max_logit_difference: the greatest |Δlogit| of the kept tokens, new ids against old; ``None`` when no
            line has a kept token.
        num_words_newly_known: words that were unknown as a whole and are known now.
        num_drawn_texts: texts drawn over all of Unicode that were compared as well.
        num_drawn_words_altered: words in them that need no dropped token, yet have other tokens.
        num_drawn_newly_unknown: of these texts, those that became unknown without a dropped character.
        dropped_characters: how many characters of each script lost the token of their own, so that text with
            them may be unknown; empty where they become bytes.
    """

    num_tokens_before: int
    num_tokens_after: int
    num_lines: int
    num_words: int
    lines_unchanged_fraction: float
    words_unchanged_fraction: float
    words_kept_fraction: float
    num_words_altered: int
    unknown_fraction_before: float
    unknown_fraction_after: float
    tokens_per_word_before: float
    tokens_per_word_after: float
    max_logit_difference: float | None
    num_words_newly_known: int = 0
    num_drawn_texts: int = 0
    num_drawn_words_altered: int = 0
    num_drawn_newly_unknown: int = 0
    dropped_characters: Mapping[str, int] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether text that needs no dropped token kept its tokens, and only dropped characters are lost."""
        return not (self.num_words_altered or self.num_drawn_words_altered or self.num_drawn_newly_unknown)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and ``exact``, ready for JSON."""
        return asdict(self) | {"exact": self.exact}


SegmentedLine = dict[int | None, tuple[int, ...]]
"""The ids of each word of a line."""


def certify_trimming(before: Checkpoint, after: Checkpoint, kept: Ids, lines: Sequence[str]) -> Certificate:
    """Return the certificate of a trimmed vocabulary.

    Args:
        before: the model and tokenizer before.
        after: the model and tokenizer after.
        kept: the old ids in the order of the new ones.
        lines: held-out text.
    """
    old, small = before.tokenizer, after.tokenizer
    old_lines, small_lines = segment_words(old, lines), segment_words(small, lines)
    new = renumber(kept, len(old))
    spec = vocabulary.read(old)
    unknown_word = old.unk_token_id if spec["model"]["type"] == "WordPiece" else None
    counts = compare_words(old_lines, small_lines, new, unknown_word)
    loss, texts = find_lost_characters(spec, vocabulary.read(small)), draw_trial_texts(spec)
    drawn = [segment_words(one, texts) for one in (old, small)]
    drawn_counts = compare_words(drawn[0], drawn[1], new, unknown_word)
    whole = select_texts_without(loss.dropped | loss.fragile, texts, old.backend_tokenizer.normalizer)
    unknown = [
        [_has_token(lines[place], one.unk_token_id) for place in whole]
        for lines, one in zip(drawn, (old, small), strict=True)
    ]
    num_words = max(1, counts["words"])
    return Certificate(
        num_tokens_before=len(old),
        num_tokens_after=len(kept),
        num_lines=len(lines),
        num_words=counts["words"],
        lines_unchanged_fraction=counts["lines_unchanged"] / max(1, len(lines)),
        words_unchanged_fraction=counts["words_unchanged"] / num_words,
        words_kept_fraction=counts["words_kept"] / num_words,
        num_words_altered=counts["words_altered"],
        unknown_fraction_before=find_unknown_fraction(old_lines, old.unk_token_id),
        unknown_fraction_after=find_unknown_fraction(small_lines, small.unk_token_id),
        tokens_per_word_before=count_segmented(old_lines) / num_words,
        tokens_per_word_after=count_segmented(small_lines) / num_words,
        max_logit_difference=_logit_difference(before.model, after.model, kept, new, old_lines),
        num_words_newly_known=counts["words_newly_known"],
        num_drawn_texts=len(texts),
        num_drawn_words_altered=drawn_counts["words_altered"],
        num_drawn_newly_unknown=sum(after > before for before, after in zip(*unknown, strict=True)),
        dropped_characters=count_by_script(loss.dropped),
    )


def compare_words(
    old_lines: Sequence[SegmentedLine], small_lines: Sequence[SegmentedLine], new: Ids, unknown: int | None
) -> Counter[str]:
    """Count the words, and lines, that a smaller vocabulary left as they were.

    Args:
        old_lines: text segmented with the whole vocabulary.
        small_lines: the same text with the smaller one.
        new: the new id of each old one, negative where it was dropped.
        unknown: the id that a word has which is unknown as a whole; None where pieces are.
    """
    counts: Counter[str] = Counter()
    numbers = new.tolist()
    for old_line, small_line in zip(old_lines, small_lines, strict=True):
        mapped = {word: tuple(numbers[number] for number in ids) for word, ids in old_line.items()}
        known_now = {
            word
            for word, ids in old_line.items()
            if ids == (unknown,) and small_line.get(word) != mapped[word]
        }
        whole = [word for word, ids in mapped.items() if min(ids) >= 0 and word not in known_now]
        counts["words_newly_known"] += len(known_now)
        unchanged = sum(small_line.get(word) == ids for word, ids in mapped.items())
        counts["words"] += len(mapped)
        counts["words_unchanged"] += unchanged
        counts["lines_unchanged"] += unchanged == len(mapped)
        counts["words_kept"] += len(whole)
        counts["words_altered"] += sum(small_line.get(word) != mapped[word] for word in whole)
    return counts


def segment_words(tokenizer: PreTrainedTokenizerBase, lines: Sequence[str]) -> list[SegmentedLine]:
    """Return for each line the ids of each word, with the text's special tokens under ``None``."""
    segmented = []
    for encoding in bare_backend(tokenizer).encode_batch(list(lines), add_special_tokens=False):
        words: dict[int | None, list[int]] = {}
        for word, number in zip(encoding.word_ids, encoding.ids, strict=True):
            words.setdefault(word, []).append(number)
        segmented.append({word: tuple(ids) for word, ids in words.items()})
    return segmented


def _has_token(line: SegmentedLine, number: int | None) -> bool:
    return any(number in ids for ids in line.values())


def count_segmented(lines: Sequence[SegmentedLine]) -> int:
    """Return the number of tokens of segmented text."""
    return sum(len(ids) for line in lines for ids in line.values())


def find_unknown_fraction(lines: Sequence[SegmentedLine], unknown: int | None) -> float:
    """Return the share of unknown tokens in segmented text."""
    if unknown is None:
        return 0.0
    count = sum(ids.count(unknown) for line in lines for ids in line.values())
    return count / max(1, count_segmented(lines))


@torch.no_grad()
def _logit_difference(
    model: PreTrainedModel, small_model: PreTrainedModel, kept: Ids, new: Ids, lines: Sequence[SegmentedLine]
) -> float | None:
    """Return the greatest |Δlogit| over a few lines, without their dropped tokens."""
    worst: float | None = None
    most = min(_PROBED_TOKENS, max_input_tokens(model.config.to_dict()) or _PROBED_TOKENS)
    rows_V = torch.from_numpy(kept).to(model.device)
    for line in lines[:_PROBED_LINES]:
        ids = np.array([number for word in line.values() for number in word], dtype=np.int64)
        old_L = torch.from_numpy(ids[new[ids] >= 0][:most])
        if len(old_L):
            before_LV = model(input_ids=old_L[None].to(model.device)).logits[0].index_select(1, rows_V)
            new_L = torch.from_numpy(new[old_L.numpy()]).to(small_model.device)
            after_LV = small_model(input_ids=new_L[None]).logits[0]
            worst = max(worst or 0.0, float((before_LV - after_LV.to(before_LV.device)).abs().max()))
    return worst
