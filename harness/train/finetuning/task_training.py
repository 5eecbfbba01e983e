"""Train a model on one task: on text that a teacher labelled, if it has one, then on the task's examples."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.data.examples import TaskData
from harness.models.loading import checkpoint
from harness.models.loading.encoder import count_token_types
from harness.models.loading.folder import open_model_folder
from harness.models.loading.settings import load_config
from harness.pipeline.process_group import ALONE, ProcessGroup
from harness.train.finetuning.distillation import TaskDistillation
from harness.train.finetuning.encoding import EncodedExamples
from harness.train.finetuning.finetune import FinetunedModel, finetune
from harness.train.finetuning.prediction import Labels
from harness.train.finetuning.protocol import Protocol
from harness.train.finetuning.teacher_logits import encode_with_logits, make_examples


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

    def learn_from_text(self, seed: int) -> tuple[Path, FinetunedModel | None]:
        """Train the model on the labelled text, if there is any.

        Returns:
            the folder to fine-tune from, and the model after the text; None where there is no text.
        """
        if self.text is None:
            return self.source, None
        assert self.distillation is not None
        taught = self._train(
            self.source, seed, self.text.protocol, self.distillation.for_text(), self.text.rows
        )
        folder = self.folder / "taught"
        self.group.share(lambda: checkpoint.save_checkpoint(taught.model, self.tokenizer, folder))
        return folder, taught

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
        )
