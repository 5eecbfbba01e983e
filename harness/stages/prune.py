"""Drop the least important FFN neurons, in one round or in several with new importance scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from harness.config.steps.prune import ResolvedPrune
from harness.models.families.table import read_size
from harness.models.surgery import axes
from harness.models.surgery.importance import Batch, keep_top, measure_ffn_importance
from harness.stages.io.artifacts import read_masked, read_model, write_step
from harness.stages.io.facts import PruneFacts, PruningRound

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> PruneFacts:
    """Write the model with a narrower FFN; importance is measured on the corpus's training part."""
    step = context.get_step(ResolvedPrune)
    model, tokenizer = read_model(context)
    text = step.text
    batches = (lambda: ()) if text is None else lambda: read_masked(context, tokenizer, text)
    model, rounds = prune_in_rounds(model, step, batches, context.progress)
    return PruneFacts(rounds=rounds, **vars(write_step(context, model, tokenizer)))


def prune_in_rounds(
    model: Any,
    step: ResolvedPrune,
    make_batches: Callable[[], Iterable[Batch]],
    progress: Callable[[int, int, str, dict[str, Any]], None],
) -> tuple[Any, list[PruningRound]]:
    """Return a model with a narrower FFN, and what each round kept.

    Args:
        model: to prune; it is left as it was.
        step: the width, the score and the number of rounds.
        make_batches: returns masked batches of the text to score on, each time from the first.
        progress: called with done, total, unit and further values.
    """
    widths = _list_widths(read_size(model, "intermediate_size"), step.ffn, step.rounds)
    rounds = []
    for done, width in enumerate(widths):
        progress(done, step.rounds, "rounds", {})
        scores = measure_ffn_importance(model, make_batches(), step.score)
        kept = keep_top(scores, width)
        rounds.append(PruningRound(ffn=width, kept_score_fraction=_kept_fraction(scores, kept)))
        model = axes.prune_ffn(model, kept)
    return model, rounds


def _list_widths(now: int, target: int, rounds: int) -> list[int]:
    """Return the width after each round: equal parts, the last exactly the target."""
    return [now - (now - target) * (index + 1) // rounds for index in range(rounds)]


def _kept_fraction(scores: list[Tensor], kept: list[Any]) -> float:
    whole = sum(float(score.sum()) for score in scores)
    left = sum(float(score[rows].sum()) for score, rows in zip(scores, kept, strict=True))
    return left / whole if whole else 1.0
