"""Learn a vocabulary from the language's text, and measure how held-out text is tokenised with it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from harness.config.steps.retokenize import ResolvedRetokenize
from harness.data import corpus
from harness.models.tokenizers.coverage import count_segmented, find_unknown_fraction, segment_words
from harness.models.tokenizers.learning import count_words
from harness.models.tokenizers.retokenizing import keeps_padding, learn_tokenizer, retokenize
from harness.stages.io.artifacts import read_model, write_step
from harness.stages.io.facts import RetokenizeFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

_MEASURED_LINES = 512


def run(context: Context) -> RetokenizeFacts:
    """Write the model with the new rows, and its tokenizer. The text is streamed; its words are counted."""
    model, tokenizer = read_model(context)
    step, text = context.get_step(ResolvedRetokenize), context.inputs["corpus"]
    words = count_words(tokenizer, (line for document in corpus.stream(text, "train") for line in document))
    new = learn_tokenizer(tokenizer, words, step.vocabulary, up_to_padding=keeps_padding(model))
    held_out = (line for document in corpus.stream(text, "held_out") for line in document)
    lines = list(islice(held_out, _MEASURED_LINES))
    before, after = (_measure_tokens(one, lines) for one in (tokenizer, new.tokenizer))
    written = write_step(context, retokenize(model, tokenizer, new), new.tokenizer)
    return RetokenizeFacts(
        num_shared=new.num_shared,
        tokens_per_word_before=before[0],
        tokens_per_word_after=after[0],
        unknown_fraction_before=before[1],
        unknown_fraction_after=after[1],
        **vars(written),
    )


def _measure_tokens(tokenizer: Any, lines: list[str]) -> tuple[float, float]:
    """Return the mean number of tokens of a word, and the share of unknown tokens."""
    segmented = segment_words(tokenizer, lines)
    num_words = max(1, sum(map(len, segmented)))
    return count_segmented(segmented) / num_words, find_unknown_fraction(segmented, tokenizer.unk_token_id)
