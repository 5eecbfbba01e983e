"""Train a model that a stage goes on from, once, and keep it until the stage is finished."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.batches import Packed
from harness.json_files import read_json, write_json
from harness.models.loading import checkpoint
from harness.pipeline.checkpoints import is_sealed, seal_checkpoint
from harness.stages.io.facts import TrainingFacts
from harness.train.language_model import training
from harness.train.language_model.budget import Budget

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def train_and_keep(
    context: Context, name: str, *, model: Any, tokenizer: Any, packed: Packed, budget: Budget
) -> tuple[Any, TrainingFacts]:
    """Return a model after masked-language training; a resumed stage reads what an earlier attempt trained.

    Args:
        context: of the stage, among whose checkpoints the model is kept, whole or not at all.
        name: of the folder.
        model: to train, in place where it is not there yet.
        tokenizer: the model's.
        packed: rows of the corpus.
        budget: the amount of training.
    """
    folder, share = context.checkpoints / name, context.group.share
    kept = folder / "model"
    if not share(lambda: is_sealed(kept)):
        trained = training.train(
            model,
            tokenizer,
            packed,
            budget=budget,
            folder=folder,
            progress=context.progress,
            group=context.group,
        )
        share(lambda: _keep(model, tokenizer, trained, kept))
    return checkpoint.load_checkpoint(kept).model, TrainingFacts(**read_json(kept / "training.json"))


def _keep(model: Any, tokenizer: Any, trained: dict[str, Any], folder: Path) -> None:
    checkpoint.save_checkpoint(model, tokenizer, folder)
    write_json(folder / "training.json", trained)
    seal_checkpoint(folder)
