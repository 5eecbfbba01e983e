"""Drop the least important FFN neurons, in one round or in several with new importance scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from harness.config.steps.prune import ResolvedPrune
from harness.models.families.table import read_size
from harness.models.surgery import axes
from harness.models.surgery.importance import keep_top, measure_ffn_importance
from harness.stages.io.artifacts import read_masked, read_model, write_step
from harness.stages.io.facts import PruneFacts, PruningRound

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> PruneFacts:
    """Write the model with a narrower FFN; importance is measured on the corpus's training part."""
    step = context.get_step(ResolvedPrune)
    model, tokenizer = read_model(context)
    widths = _list_widths(read_size(model, "intermediate_size"), step.ffn, step.rounds)
    rounds = []
    for done, width in enumerate(widths):
        context.progress(done, step.rounds, "rounds", {})
        scores = _score_neurons(context, step, model, tokenizer)
        kept = keep_top(scores, width)
        rounds.append(PruningRound(ffn=width, kept_score_fraction=_kept_fraction(scores, kept)))
        model = axes.prune_ffn(model, kept)
    return PruneFacts(rounds=rounds, **vars(write_step(context, model, tokenizer)))


def _list_widths(now: int, target: int, rounds: int) -> list[int]:
    """Return the width after each round: equal parts, the last exactly the target."""
    return [now - (now - target) * (index + 1) // rounds for index in range(rounds)]


def _score_neurons(context: Context, step: ResolvedPrune, model: Any, tokenizer: Any) -> list[Tensor]:
    batches = () if step.text is None else read_masked(context, tokenizer, step.text)
    return measure_ffn_importance(model, batches, step.score)


def _kept_fraction(scores: list[Tensor], kept: list[Any]) -> float:
    whole = sum(float(score.sum()) for score in scores)
    left = sum(float(score[rows].sum()) for score, rows in zip(scores, kept, strict=True))
    return left / whole if whole else 1.0
