"""Learn a vocabulary from the language's text, and measure how held-out text is tokenised with it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from harness.config.steps.retokenize import ResolvedRetokenize
from harness.data import corpus
from harness.models.tokenizers.coverage import count_segmented, find_unknown_fraction, segment_words
from harness.models.tokenizers.learning import count_words
from harness.models.tokenizers.retokenizing import (
    NewTokenizer,
    keeps_padding,
    learn_tokenizer,
    retokenize,
)
from harness.stages.io.artifacts import read_model, write_step
from harness.stages.io.facts import RetokenizeFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

_MEASURED_LINES = 512


def run(context: Context) -> RetokenizeFacts:
    """Write the model with the new rows, and its tokenizer. The text is streamed; its words are counted."""
    model, tokenizer = read_model(context)
    step, text = context.get_step(ResolvedRetokenize), context.inputs["corpus"]
    lines = (line for document in corpus.stream(text, "train") for line in document)
    student, new = retokenize_to_text(model, tokenizer, step.vocabulary, lines)
    held_out = (line for document in corpus.stream(text, "held_out") for line in document)
    measured = list(islice(held_out, _MEASURED_LINES))
    before, after = (_measure_tokens(one, measured) for one in (tokenizer, new.tokenizer))
    written = write_step(context, student, new.tokenizer)
    return RetokenizeFacts(
        num_shared=new.num_shared,
        tokens_per_word_before=before[0],
        tokens_per_word_after=after[0],
        unknown_fraction_before=before[1],
        unknown_fraction_after=after[1],
        **vars(written),
    )


def retokenize_to_text(
    model: Any, tokenizer: Any, vocabulary: int, lines: Iterable[str]
) -> tuple[Any, NewTokenizer]:
    """Return a model with a vocabulary learned from lines, and its tokenizer; the model is left as it was."""
    words = count_words(tokenizer, lines)
    new = learn_tokenizer(tokenizer, words, vocabulary, up_to_padding=keeps_padding(model))
    return retokenize(model, tokenizer, new), new


def _measure_tokens(tokenizer: Any, lines: list[str]) -> tuple[float, float]:
    """Return the mean number of tokens of a word, and the share of unknown tokens."""
    segmented = segment_words(tokenizer, lines)
    num_words = max(1, sum(map(len, segmented)))
    return count_segmented(segmented) / num_words, find_unknown_fraction(segmented, tokenizer.unk_token_id)
