"""Keeps the tokens the language uses most, and certifies that the others are not missed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from harness.data import corpus
from harness.models import tokenizers
from harness.stages.files import read_model, record_held_out, write_json, write_model

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

_CERTIFIED_LINES = 512


def run(context: Context) -> None:
    """Writes the model with fewer rows, its tokenizer, and ``certificate.json`` about held-out text."""
    model, tokenizer = read_model(context)
    lines = (line for document in corpus.read(context.inputs["corpus"], "train") for line in document)
    counts = tokenizers.count_tokens(tokenizer, lines)
    keep = tokenizers.choose(counts, context.config["vocabulary"], tokenizer)
    held_out = [line for document in corpus.read(context.inputs["corpus"], "held_out") for line in document]
    trimmed = tokenizers.trim(model, tokenizer, keep, held_out[:_CERTIFIED_LINES])
    assert trimmed.certificate is not None, "the stage corpus holds text out"
    certificate = asdict(trimmed.certificate)
    write_json(context.out / "certificate.json", certificate)
    context.facts["certificate"] = certificate
    record_held_out(context, trimmed.model, trimmed.tokenizer)
    write_model(context, trimmed.model, trimmed.tokenizer)
