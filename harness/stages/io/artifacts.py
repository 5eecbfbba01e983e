"""Read and write what stages leave for each other in their folders: models, text and tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.config.amounts import TextSettings, TrainingSettings
from harness.config.shape import Shape
from harness.data import corpus
from harness.data.aligned_rows import AlignedRows, pack_aligned
from harness.data.batches import Packed, pack
from harness.data.examples import TaskData, TextExample, TokenExample
from harness.errors import HarnessError
from harness.json_files import read_json, write_json
from harness.models.loading import checkpoint
from harness.models.size import count_parameters
from harness.precisions import COPIES, FP32, PRECISIONS
from harness.stages.io.facts import HeldOutFacts, ModelFacts, StepFacts, TrainedStepFacts, TrainingFacts
from harness.tasks import find_task
from harness.train.language_model import training
from harness.train.language_model.batches import MaskedBatches
from harness.train.language_model.budget import Budget
from harness.train.language_model.training import measure_held_out_loss
from harness.train.trackers import make_trackers
from harness.train.trainer import refuse_divergence

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

HELD_OUT_TOKENS = 8192
"""Amount of held-out text on which a model's loss is measured after each step, in tokens."""

STATIC_FILE = "static.safetensors"
"""The file in which the stage ``static`` writes its vectors."""


def choose_precision(setting: str) -> str:
    """Return ``bf16`` or ``fp32``; ``auto`` is bf16 where the processor multiplies it in hardware."""
    if setting != "auto":
        return setting
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


def make_budget(
    settings: TrainingSettings,
    packed: Packed | AlignedRows | None = None,
    *,
    checkpoint_s: float | None = None,
) -> Budget:
    """Return the budget of a training; epochs become as many tokens as the packed text has in them."""
    stated = settings.model_dump(exclude={"epochs", "text_fraction"}, exclude_none=True)
    stated["precision"] = choose_precision(settings.precision)
    if settings.epochs is not None and packed is not None:
        stated["tokens"] = int(settings.epochs * packed.lengths.sum())
    return Budget(**stated, checkpoint_s=checkpoint_s)


def find_model_folder(context: Context, role: str = "model") -> Path:
    """Return the folder of a model that an earlier stage wrote, or of a model from outside."""
    folder = context.inputs[role]
    return folder / "model" if (folder / "model").is_dir() else folder


def list_export_files(context: Context, task: str) -> dict[str, Path]:
    """Return the ONNX files of the final student for a task, by precision: fp32 first."""
    exported = context.inputs["exported"] / "onnx"
    paths = {FP32: exported / PRECISIONS[FP32].file}
    for precision in COPIES:
        places = [context.inputs["precisions"] / task] if "precisions" in context.inputs else []
        for folder in (*places, exported):
            if precision not in paths and (path := folder / PRECISIONS[precision].file).is_file():
                paths[precision] = path
    return paths


def read_model(context: Context, role: str = "model") -> checkpoint.Checkpoint:
    """Read the model that an earlier stage wrote."""
    return checkpoint.load_checkpoint(context.inputs[role] / "model")


def write_model(context: Context, model: Any, tokenizer: Any) -> ModelFacts:
    """Write the stage's model; return its shape and size."""
    context.leave_to_main()
    checkpoint.save_checkpoint(model, tokenizer, context.out / "model")
    return ModelFacts(
        shape=Shape.from_transformers(model.config.to_dict()),
        parameters={name: part.parameters for name, part in count_parameters(model).items()},
        size_bytes=(context.out / "model" / "model.safetensors").stat().st_size,
    )


def write_step(context: Context, model: Any, tokenizer: Any) -> StepFacts:
    """Write the model of a recipe's step; return its shape, its size and its loss on held-out text."""
    context.leave_to_main()
    held_out = _measure_held_out(context, model, tokenizer)
    return StepFacts(held_out=held_out, **vars(write_model(context, model, tokenizer)))


def train_masked(context: Context, amount: TrainingSettings) -> TrainedStepFacts:
    """Train the stage's model as a masked language model on the corpus, and write it; its shape stays."""
    model, tokenizer = read_model(context)
    packed = read_packed(context, tokenizer, amount.sequence_length, text_fraction=amount.text_fraction)
    trained = training.train(
        model,
        tokenizer,
        packed,
        budget=make_budget(amount, packed, checkpoint_s=context.checkpoint_s),
        folder=context.out,
        progress=context.progress,
        callbacks=make_trackers(context.trackers, context.out),
        group=context.group,
    )
    step = write_step(context, model, tokenizer)
    return TrainedStepFacts(training=TrainingFacts(**trained), **vars(step))


def _measure_held_out(context: Context, model: Any, tokenizer: Any) -> HeldOutFacts:
    """Measure the masked-language loss on held-out text, in the same way after every step."""
    documents = corpus.StoredPart(context.inputs["corpus"], "held_out")
    length = min(int(context.config["held_out_length"]), model.config.max_position_embeddings - 2)
    budget = Budget(
        tokens=HELD_OUT_TOKENS,
        batch_tokens=max(HELD_OUT_TOKENS // 4, length),
        sequence_length=length,
        learning_rate=0.0,
        warmup_fraction=0.0,
        mask_fraction=0.15,
        precision="fp32",
        seed=0,
    )
    measured = measure_held_out_loss(model, tokenizer, documents, budget=budget, max_tokens=HELD_OUT_TOKENS)
    refuse_divergence("loss on held-out text", measured["loss"])
    return HeldOutFacts.model_validate(measured)


def locate_corpus(root: Path, language: str, languages: Sequence[str]) -> Path:
    """Return the folder of a language's text in the stage ``corpus``: the root if there is one language."""
    return root if len(languages) == 1 else root / language


def read_packed(
    context: Context, tokenizer: Any, sequence_length: int, *, text_fraction: float | None = None
) -> Packed:
    """Read the corpus's training part as rows of token ids in a mapped file: all rows, or a fraction."""
    documents = corpus.stream(context.inputs["corpus"], "train")
    packed = pack(documents, tokenizer, sequence_length, context.out.parent)
    return packed if text_fraction is None else packed.take(text_fraction)


def read_aligned(
    context: Context,
    tokenizer: Any,
    teacher_tokenizer: Any,
    sequence_length: int,
    *,
    text_fraction: float | None = None,
) -> AlignedRows:
    """Read the corpus's training part as rows of the same text in the tokens of student and teacher."""
    documents = corpus.stream(context.inputs["corpus"], "train")
    rows = pack_aligned(documents, tokenizer, teacher_tokenizer, sequence_length, context.out.parent)
    return rows if text_fraction is None else rows.take(text_fraction)


def read_masked(context: Context, tokenizer: Any, text: TextSettings) -> Iterator[dict[str, Tensor]]:
    """Return masked batches of the corpus's training part, for models to be run on."""
    return make_masked_batches(read_packed(context, tokenizer, text.sequence_length), tokenizer, text)


def make_masked_batches(packed: Packed, tokenizer: Any, text: TextSettings) -> Iterator[dict[str, Tensor]]:
    """Return masked batches of packed rows, as many as the settings state."""
    stated = text.model_dump(exclude={"precision"}, exclude_none=True)
    budget = Budget(**stated, learning_rate=0.0, warmup_fraction=0.0, precision="fp32")
    batches = MaskedBatches(packed, tokenizer, budget)
    return (batches[index] for index in range(len(batches)))


def write_task(path: Path, data: TaskData) -> None:
    """Write a task in the one form that tasks of all sources have."""
    write_json(
        path,
        {
            "task": data.task.name,
            "language": data.language,
            "labels": data.labels,
            "notes": data.notes,
            "provenance": dict(data.provenance),
            **{part: [asdict(one) for one in getattr(data, part)] for part in ("train", "dev", "test")},
        },
    )


def read_task(context: Context, name: str) -> TaskData:
    """Read a task that the stage ``tasks`` wrote.

    Raises:
        HarnessError: the stage wrote no such task.
    """
    path = context.inputs["tasks"] / f"{name}.json"
    if not path.is_file():
        raise HarnessError(
            f"{name}: expected {path.name} from the stage 'tasks'; got none; run that stage again"
        )
    value = read_json(path)
    task = find_task(name)
    parts = {
        part: tuple(
            TokenExample(tuple(one["words"]), tuple(one["labels"]), one["written"])
            if task.kind == "token"
            else TextExample(one["text"], one["label"], one["second"])
            for one in value[part]
        )
        for part in ("train", "dev", "test")
    }
    return TaskData(
        task,
        value["language"],
        tuple(value["labels"]),
        **parts,
        notes=tuple(value["notes"]),
        provenance=value["provenance"],
    )
