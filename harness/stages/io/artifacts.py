"""What stages read from and write to each other's folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.config.shape import Shape
from harness.data import corpus
from harness.data.batches import Packed, pack
from harness.data.examples import TaskData, TextExample, TokenExample
from harness.errors import HarnessError
from harness.json_files import read_json, write_json
from harness.models.loading import checkpoint
from harness.models.size import count_parameters
from harness.tasks import task_named
from harness.train.language_model.batches import MaskedBatches
from harness.train.language_model.budget import Budget
from harness.train.language_model.training import measure_held_out_loss
from harness.train.trainer import refuse_divergence

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

HELD_OUT_TOKENS = 8192
"""Held-out text that a model's loss is measured on after each step, in tokens."""

STATIC_FILE = "static.safetensors"
"""Where the stage ``static`` keeps its vectors."""


def precision(wanted: str) -> str:
    """Gives ``bf16`` or ``fp32``; ``auto`` is bf16 where the processor multiplies it in hardware."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


def budget(config: Mapping[str, Any], packed: Packed | None = None) -> Budget:
    """Reads a step's training out of its settings; passes over the text become tokens."""
    told = {**config, "precision": precision(config["precision"])}
    if "epochs" in config and packed is not None:
        told["tokens"] = int(config["epochs"] * packed.lengths.sum())
    if "freeze" in config:
        told["freeze"] = tuple(config["freeze"])
    return Budget.pick(told)


def model_folder(context: Context, role: str = "model") -> Path:
    """Gives the folder of the model that an earlier stage left, or that came from outside."""
    folder = context.inputs[role]
    return folder / "model" if (folder / "model").is_dir() else folder


def read_model(context: Context, role: str = "model") -> checkpoint.Checkpoint:
    """Reads the model that an earlier stage left."""
    return checkpoint.load_checkpoint(context.inputs[role] / "model")


def write_model(context: Context, model: Any, tokenizer: Any) -> None:
    """Writes the stage's model and records its size and its shape."""
    checkpoint.save_checkpoint(model, tokenizer, context.out / "model")
    parts = count_parameters(model)
    context.facts["shape"] = Shape.from_transformers(model.config.to_dict()).model_dump()
    context.facts["parameters"] = {name: part.parameters for name, part in parts.items()}
    context.facts["size_bytes"] = (context.out / "model" / "model.safetensors").stat().st_size


def corpus_folder(root: Path, language: str, languages: Sequence[str]) -> Path:
    """Gives where the stage ``corpus`` puts a language: at the top if it is the only one."""
    return root if len(languages) == 1 else root / language


def read_packed(context: Context, tokenizer: Any, sequence_length: int, part: str = "train") -> Packed:
    """Reads the language's text as rows of token ids: all of them, or the share that the settings say."""
    packed = pack(corpus.read(context.inputs["corpus"], part), tokenizer, sequence_length)
    return packed.take(context.config["text_fraction"]) if "text_fraction" in context.config else packed


def read_masked(context: Context, tokenizer: Any, part: str) -> Iterator[dict[str, Tensor]]:
    """Gives masked batches of the language's text to score models on, as many tokens as the settings say."""
    config = context.config
    packed = read_packed(context, tokenizer, config["sequence_length"], part)
    asked = budget({**config, "learning_rate": 0.0, "warmup_fraction": 0.0, "precision": "fp32"})
    batches = MaskedBatches(packed, tokenizer, asked)
    return (batches[index] for index in range(len(batches)))


def record_held_out(context: Context, model: Any, tokenizer: Any) -> None:
    """Measures the masked-language loss on held-out text; every step is measured in the same way."""
    documents = corpus.read(context.inputs["corpus"], "held_out")
    length = min(int(context.config["held_out_length"]), model.config.max_position_embeddings - 2)
    asked = Budget(
        tokens=HELD_OUT_TOKENS,
        batch_tokens=max(HELD_OUT_TOKENS // 4, length),
        sequence_length=length,
        learning_rate=0.0,
        warmup_fraction=0.0,
        mask_fraction=0.15,
        precision="fp32",
        seed=0,
    )
    found = measure_held_out_loss(model, tokenizer, documents, budget=asked, max_tokens=HELD_OUT_TOKENS)
    refuse_divergence("loss on held-out text", found["loss"])
    context.facts["held_out"] = found


def write_task(path: Path, data: TaskData) -> None:
    """Writes a task, whatever source it came from, in one form."""
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
    """Reads a task that the stage ``tasks`` wrote.

    Raises:
        HarnessError: the stage wrote no such task.
    """
    path = context.inputs["tasks"] / f"{name}.json"
    if not path.is_file():
        raise HarnessError(
            f"{name}: wanted {path.name} from the stage 'tasks'; got none; run that stage anew"
        )
    value = read_json(path)
    task = task_named(name)
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
