"""Drops the least important FFN neurons, in one round or several with scores anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from harness.models.families.table import read_size
from harness.models.surgery import axes
from harness.models.surgery.importance import keep_top, measure_ffn_importance
from harness.stages.io.artifacts import read_masked, read_model, record_held_out, write_model

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes the model with a narrower FFN; neurons are scored on the corpus's training part.

    Facts: how many neurons each round left, and the share of the summed score that was kept.
    """
    config = context.config
    model, tokenizer = read_model(context)
    rounds = []
    for index, width in enumerate(
        _widths(read_size(model, "intermediate_size"), config["ffn"], config["rounds"])
    ):
        context.progress(index, config["rounds"], "rounds", {})
        scores = _scores(context, model, tokenizer)
        kept = keep_top(scores, width)
        rounds.append({"ffn": width, "kept_score_fraction": _kept_fraction(scores, kept)})
        model = axes.prune_ffn(model, kept)
    context.facts["rounds"] = rounds
    record_held_out(context, model, tokenizer)
    write_model(context, model, tokenizer)


def _widths(now: int, target: int, rounds: int) -> list[int]:
    """Gives the width after each round: equal parts, the last exactly the target."""
    return [now - (now - target) * (index + 1) // rounds for index in range(rounds)]


def _scores(context: Context, model: Any, tokenizer: Any) -> list[Tensor]:
    config = context.config
    if config["score"] == "magnitude":
        return measure_ffn_importance(model, (), "magnitude")
    return measure_ffn_importance(model, read_masked(context, tokenizer, "train"), config["score"])


def _kept_fraction(scores: list[Tensor], kept: list[Any]) -> float:
    whole = sum(float(score.sum()) for score in scores)
    left = sum(float(score[rows].sum()) for score, rows in zip(scores, kept, strict=True))
    return left / whole if whole else 1.0
