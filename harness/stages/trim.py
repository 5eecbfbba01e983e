"""Keep the tokens that the language uses most, and certify how its text is tokenised without the others."""

from __future__ import annotations

from collections.abc import Iterator
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
    keep = _choose_tokens(context, tokenizer)
    held_out = list(islice(_stream_lines(context, "held_out"), _CERTIFIED_LINES))
    trimmed = tokenizers.trim_vocabulary(model, tokenizer, keep, held_out)
    step = write_step(context, trimmed.model, trimmed.tokenizer)
    if trimmed.certificate is None:
        return TrimFacts(**vars(step))
    certificate = trimmed.certificate.as_dict()
    write_json(context.out / "certificate.json", certificate)
    return TrimFacts(certificate=certificate, **vars(step))


def _choose_tokens(context: Context, tokenizer: Any) -> tokenizers.Ids:
    num_lines = sum(1 for _ in _stream_lines(context, "train"))
    counts = tokenizers.count_tokens(
        tokenizer,
        _stream_lines(context, "train"),
        lambda done: context.progress(done, num_lines, "lines", {}),
    )
    characters = tokenizers.count_characters(tokenizer, _stream_lines(context, "train"))
    return tokenizers.choose_tokens(counts, context.get_step(ResolvedTrim).vocabulary, tokenizer, characters)


def _stream_lines(context: Context, part: str) -> Iterator[str]:
    for document in corpus.stream(context.inputs["corpus"], part):
        yield from document
