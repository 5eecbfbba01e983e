"""Keeps the tokens the language uses most, and certifies that the others are not missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.data import corpus
from harness.models import tokenizers
from harness.stages.files import read_model, record_held_out, write_json, write_model

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

_CERTIFIED_LINES = 512


def run(context: Context) -> None:
    """Writes the model with fewer rows, its tokenizer, and ``certificate.json`` about held-out text.

    The single characters of the corpus stay, so that no word becomes unknown that was not.
    """
    model, tokenizer = read_model(context)
    lines = [line for document in corpus.read(context.inputs["corpus"], "train") for line in document]
    keep = tokenizers.choose(
        tokenizers.count_tokens(tokenizer, lines),
        context.config["vocabulary"],
        tokenizer,
        tokenizers.count_characters(tokenizer, lines),
    )
    held_out = [line for document in corpus.read(context.inputs["corpus"], "held_out") for line in document]
    trimmed = tokenizers.trim(model, tokenizer, keep, held_out[:_CERTIFIED_LINES])
    if trimmed.certificate is not None:
        context.facts["certificate"] = trimmed.certificate.as_dict()
        write_json(context.out / "certificate.json", context.facts["certificate"])
    record_held_out(context, trimmed.model, trimmed.tokenizer)
    write_model(context, trimmed.model, trimmed.tokenizer)
