"""Keep the tokens that the language uses most, and certify how its text is tokenised without the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from harness.config.steps.trim import ResolvedTrim
from harness.data import corpus
from harness.json_files import write_json
from harness.models import tokenizers
from harness.stages.io.artifacts import read_model, write_step
from harness.stages.io.facts import TrimFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

_CERTIFIED_LINES = 512


def run(context: Context) -> TrimFacts:
    """Write the model with fewer rows, its tokenizer, and ``certificate.json`` about held-out text.

    The single characters of the corpus stay, so that trimming makes no word unknown. The text is streamed:
    memory does not grow with it.
    """
    model, tokenizer = read_model(context)
    trimmed = trim_to_text(
        model,
        tokenizer,
        context.get_step(ResolvedTrim).vocabulary,
        lambda: _stream_lines(context, "train"),
        held_out=_stream_lines(context, "held_out"),
        progress=context.progress,
    )
    step = write_step(context, trimmed.model, trimmed.tokenizer)
    if trimmed.certificate is None:
        return TrimFacts(**vars(step))
    certificate = trimmed.certificate.as_dict()
    write_json(context.out / "certificate.json", certificate)
    return TrimFacts(certificate=certificate, **vars(step))


def trim_to_text(
    model: Any,
    tokenizer: Any,
    num_tokens: int,
    stream_lines: Callable[[], Iterable[str]],
    *,
    held_out: Iterable[str],
    progress: Callable[[int, int, str, dict[str, Any]], None],
) -> tokenizers.Trimmed:
    """Return a model and tokenizer with the tokens that a text uses most.

    Args:
        model: to trim; it is left as it was.
        tokenizer: the model's.
        num_tokens: that stay, special tokens counted.
        stream_lines: returns the lines of the text, each time from the first.
        held_out: lines to certify the tokenizer on; the first 512 are read.
        progress: called with done, total, unit and further values.
    """
    num_lines = sum(1 for _ in stream_lines())
    counts = tokenizers.count_tokens(
        tokenizer, stream_lines(), lambda done: progress(done, num_lines, "lines", {})
    )
    characters = tokenizers.count_characters(tokenizer, stream_lines())
    keep = tokenizers.choose_tokens(counts, num_tokens, tokenizer, characters)
    return tokenizers.trim_vocabulary(model, tokenizer, keep, list(islice(held_out, _CERTIFIED_LINES)))


def _stream_lines(context: Context, part: str) -> Iterator[str]:
    for document in corpus.stream(context.inputs["corpus"], part):
        yield from document
