"""Keeps the tokens the language uses most, and certifies that the others are not missed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from harness.data import corpus
from harness.json_files import write_json
from harness.models import tokenizers
from harness.stages.io.artifacts import read_model, record_held_out, write_model

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

_CERTIFIED_LINES = 512


def run(context: Context) -> None:
    """Writes the model with fewer rows, its tokenizer, and ``certificate.json`` about held-out text.

    The single characters of the corpus stay, so that no word becomes unknown that was not. The text is
    streamed: memory does not grow with it.
    """
    model, tokenizer = read_model(context)
    keep = _choose(context, tokenizer)
    held_out = list(islice(_lines(context, "held_out"), _CERTIFIED_LINES))
    trimmed = tokenizers.trim_vocabulary(model, tokenizer, keep, held_out)
    if trimmed.certificate is not None:
        context.facts["certificate"] = trimmed.certificate.as_dict()
        write_json(context.out / "certificate.json", context.facts["certificate"])
    record_held_out(context, trimmed.model, trimmed.tokenizer)
    write_model(context, trimmed.model, trimmed.tokenizer)


def _choose(context: Context, tokenizer: Any) -> tokenizers.Ids:
    num_lines = sum(1 for _ in _lines(context, "train"))
    counts = tokenizers.count_tokens(
        tokenizer,
        _lines(context, "train"),
        lambda done: context.progress(done, num_lines, "lines", {}),
    )
    characters = tokenizers.count_characters(tokenizer, _lines(context, "train"))
    return tokenizers.choose_tokens(counts, context.config["vocabulary"], tokenizer, characters)


def _lines(context: Context, part: str) -> Iterator[str]:
    for document in corpus.stream(context.inputs["corpus"], part):
        yield from document
