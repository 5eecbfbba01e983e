"""Head: fit a masked-language head to an encoder that was published without its own."""

from __future__ import annotations

from harness.config.amounts import Amounts, TrainingSettings
from harness.config.steps.base import PARTS, EarlierModels, ResolvedStep, TrainedStep
from harness.config.values import Count, Portion, Rate, Share

HEAD = "mlm_head"


class Head(TrainedStep):
    """Fit the masked-language head alone, on the language's corpus; the encoder stays as it is.

    A plan puts this step before a recipe's own where the teacher has no head. The defaults fit one dense
    layer, one norm and the bias of each token; the decoder's rows are the word embeddings, which stay.
    """

    kind = "head"

    tokens: Count | None = 200_000
    learning_rate: Rate | None = 1e-3
    batch_tokens: Count | None = 4096
    mask_fraction: Share | None = 0.15
    warmup_fraction: Portion | None = 0.06

    def resolve(self, models: EarlierModels, amounts: Amounts) -> ResolvedHead:
        """Return the step with its amount of training stated."""
        frozen = tuple(part for part in PARTS if part != HEAD)
        batch = max(self.batch_tokens or 0, amounts.sequence_length)
        own = self.model_copy(update={"freeze": frozen, "batch_tokens": batch})
        return ResolvedHead(training=own.resolve_training(models, amounts))


class ResolvedHead(ResolvedStep):
    """How much and how fast the head is fitted."""

    kind = Head.kind
    training: TrainingSettings

    def describe(self) -> str:
        """Return the amount of training in words."""
        return f"MLM head alone, {self.training.describe()}"
