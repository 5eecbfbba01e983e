"""Train a model on one task: on text that a teacher labelled, if it has one, then on the task's examples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback

from harness.data.examples import TaskData
from harness.models.loading import checkpoint
from harness.models.loading.encoder import count_token_types
from harness.models.loading.folder import open_model_folder
from harness.models.loading.settings import load_config
from harness.pipeline.checkpoints import is_sealed, seal_checkpoint
from harness.pipeline.process_group import ALONE, ProcessGroup
from harness.train.finetuning.distillation import TaskDistillation
from harness.train.finetuning.encoding import EncodedExamples
from harness.train.finetuning.finetune import FinetunedModel, finetune, load_untrained
from harness.train.finetuning.prediction import Labels
from harness.train.finetuning.protocol import Protocol, count_steps
from harness.train.finetuning.teacher_logits import encode_with_logits, make_examples

_TEXT_TRAINING = "text-training.json"


@dataclass(frozen=True)
class LabelledText:
    """Text with the teachers' logits, and how a student is trained on it.

    Attributes:
        num_lines: lines of the text.
        rows: the text, then the task's examples.
        protocol: epochs and rate among it.
    """

    num_lines: int
    rows: EncodedExamples
    protocol: Protocol


@dataclass(frozen=True)
class TextTraining:
    """A model after the labelled text.

    Attributes:
        folder: of the model; the model itself where there is no text.
        dev_score: the highest score on dev; None where there is no text.
        fitting_tokens: as of `harness.train.fitting.FittingTrainer`.
    """

    folder: Path
    dev_score: float | None = None
    fitting_tokens: int | None = None


@dataclass(frozen=True)
class TaskTraining:
    """What the trainings of one model on one task share, whatever the seed and the learning rate.

    Attributes:
        source: folder of the model.
        tokenizer: the model's.
        data: the task.
        protocol: how the model is fine-tuned.
        score: computes the first metric of predictions on the dev part.
        folder: for temporary files; `remove_files` removes it.
        distillation: the losses that compare with a teacher; None: the labels alone.
        examples: the training part with the teachers' logits; None where they are not stored.
        text: what the model learns from first; None: nothing.
        group: the processes that train together.
        callbacks: of every training.
    """

    source: Path
    tokenizer: Any
    data: TaskData
    protocol: Protocol
    score: Callable[[Labels], float]
    folder: Path
    distillation: TaskDistillation | None = None
    examples: EncodedExamples | None = None
    text: LabelledText | None = None
    group: ProcessGroup = ALONE
    callbacks: tuple[TrainerCallback, ...] = ()

    def label(self, lines: list[str], text_protocol: Protocol) -> TaskTraining:
        """Return the training with the logits of the distillation's teachers, for text and examples.

        The text is followed by the examples, of which it then has the teachers' logits alone.

        Args:
            lines: text without gold labels; none where the student learns from the examples alone.
            text_protocol: how the model is trained on the text.
        """
        assert self.distillation is not None
        typed = count_token_types(load_config(open_model_folder(self.source))) > 1
        examples, text = (
            encode_with_logits(
                part,
                self.data,
                self.tokenizer,
                self.protocol,
                teachers=self.distillation.teachers,
                typed=typed,
            )
            for part in (self.data.train, make_examples(lines, self.data))
        )
        if not text.rows:
            return replace(self, examples=examples)
        rows = replace(
            text,
            rows=[*text.rows, *examples.rows],
            owners=[*text.owners, *(text.num_examples + owner for owner in examples.owners)],
            num_examples=text.num_examples + examples.num_examples,
        )
        return replace(self, examples=examples, text=LabelledText(text.num_examples, rows, text_protocol))

    @property
    def num_steps(self) -> int:
        """Optimiser steps of a fine-tuning that does not end early."""
        return count_steps(self.protocol, len(self.data.train)) * (2 if self.protocol.method == "sft" else 1)

    @property
    def num_text_steps(self) -> int:
        """Optimiser steps of the training on the labelled text."""
        return 0 if self.text is None else count_steps(self.text.protocol, len(self.text.rows.rows))

    def learn_from_text(self, seed: int, folder: Path) -> TextTraining:
        """Train the model on the labelled text, if there is any.

        Args:
            seed: seed of head, order and dropout.
            folder: a checkpoint that the trained model becomes, and from which it is taken if it is there.

        Raises:
            DivergedError: the loss was infinite or not a number.
        """
        if self.text is None:
            return TextTraining(self.source)
        if self.group.share(lambda: is_sealed(folder)):
            return TextTraining(folder, **json.loads((folder / _TEXT_TRAINING).read_text(encoding="utf-8")))
        assert self.distillation is not None
        taught = self._train(
            self.source, seed, self.text.protocol, self.distillation.for_text(), self.text.rows
        )
        self.group.share(lambda: self._keep(taught, folder))
        return TextTraining(folder, taught.best_score, taught.fitting_tokens)

    def _keep(self, taught: FinetunedModel, folder: Path) -> None:
        """Write the model after the labelled text, and its figures, as a checkpoint."""
        checkpoint.save_checkpoint(taught.model, self.tokenizer, folder)
        figures = {"dev_score": taught.best_score, "fitting_tokens": taught.fitting_tokens}
        (folder / _TEXT_TRAINING).write_text(json.dumps(figures), encoding="utf-8")
        seal_checkpoint(folder)

    def load_untrained(self, start: Path) -> nn.Module:
        """Return a model with the parameters of a fine-tuned one, before any training."""
        model: nn.Module = load_untrained(start, self.data, self.protocol)
        return model

    def finetune(self, start: Path, seed: int, learning_rate: float) -> FinetunedModel:
        """Fine-tune the model of a folder on the task's examples, if that is better on dev than text alone.

        Raises:
            DivergedError: the loss was infinite or not a number.
        """
        protocol = replace(self.protocol, learning_rate=learning_rate)
        return self._train(
            start, seed, protocol, self.distillation, self.examples, keep_start=start != self.source
        )

    def remove_files(self) -> None:
        """Remove the temporary files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _train(
        self,
        start: Path,
        seed: int,
        protocol: Protocol,
        distillation: TaskDistillation | None,
        rows: EncodedExamples | None,
        *,
        keep_start: bool = False,
    ) -> FinetunedModel:
        return finetune(
            start,
            self.tokenizer,
            self.data,
            protocol=protocol,
            seed=seed,
            score=self.score,
            folder=self.folder / "trainer",
            distillation=distillation,
            train=rows,
            keep_start=keep_start,
            group=self.group,
            callbacks=self.callbacks,
        )
