"""Load a model, change its shape, and train it: what the steps of a recipe do, on objects in memory.

No function changes what it is given: each returns a new model. Nothing is kept between calls.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from harness.config.amounts import Amounts, TextSettings, TrainingSettings
from harness.config.recipe import WrittenStep, build_step
from harness.config.shape import Shape
from harness.config.steps.base import EarlierModels, PlannedStep, ResolvedStep, TaughtStep, check_teacher
from harness.config.steps.distill import ResolvedDistill
from harness.config.steps.head import Head, ResolvedHead
from harness.config.steps.narrow import ResolvedNarrow
from harness.config.steps.prune import ResolvedPrune
from harness.config.steps.shorten import ResolvedShorten
from harness.config.steps.trim import ResolvedTrim
from harness.data.corpus import group
from harness.data.text import read_lines
from harness.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from transformers import TrainerCallback

Lines: TypeAlias = Sequence[str]
"""The lines of a text, in order; a blank line ends a document."""
Progress: TypeAlias = Callable[[int, int, str, dict[str, Any]], None]
"""Called with how much is done, of how much, in which unit, and with further values, as the loss."""

DEFAULT_LOSS: Mapping[str, float] = {"mlm": 0.5, "logit_mse": 0.5}
_STUDENT = "student"
_Resolved = TypeVar("_Resolved", bound=ResolvedStep)


@dataclass(frozen=True)
class Model:
    """An encoder with a masked-language head, and its tokenizer.

    Attributes:
        network: the transformers model.
        tokenizer: its fast tokenizer.
        has_new_head: whether the checkpoint had no head, so that the head is random until `fit_head`.
    """

    network: Any
    tokenizer: Any
    has_new_head: bool = False

    @property
    def shape(self) -> Shape:
        """The sizes of its parts."""
        return Shape.from_transformers(self.network.config.to_dict())

    @property
    def num_parameters(self) -> int:
        """How many parameters it has; tied matrices count once."""
        return self.shape.num_parameters

    def save(self, folder: str | Path) -> Path:
        """Write it for transformers' ``Auto`` classes; return the folder."""
        from harness.models.loading.checkpoint import save_checkpoint  # noqa: PLC0415  loads torch

        save_checkpoint(self.network, self.tokenizer, folder)
        return Path(folder)


def load(source: str | Path, revision: str | None = None) -> Model:
    """Load an encoder: a folder, or a hub id ``organisation/name[@revision]``.

    Rows of the embeddings that no token has are left out; weights are float32.

    Raises:
        HarnessError: there is no such model, or it is none that can be compressed.
    """
    from harness.models.loading.checkpoint import load_teacher  # noqa: PLC0415  loads torch
    from harness.models.loading.hub import locate_pinned  # noqa: PLC0415

    name = str(source)
    if not Path(source).is_dir() and revision is None and "/" in name and not Path(source).is_absolute():
        source = locate_pinned(name)[1]
    loaded = load_teacher(source, revision)
    return Model(loaded.checkpoint.model, loaded.checkpoint.tokenizer, loaded.new_head)


def read_text(*files: str | Path) -> list[str]:
    """Read the lines of text files, plain or compressed (``.gz``, ``.xz``, ``.zst``), as UTF-8.

    A blank line is put between two files.

    Raises:
        HarnessError: a file cannot be read.
    """
    lines: list[str] = []
    for file in files:
        lines += [*([""] if lines else []), *(line for _, line in read_lines(Path(file)))]
    return lines


def trim(
    model: Model,
    text: Lines,
    tokens: int | str,
    *,
    held_out: Lines = (),
    progress: Progress | None = None,
) -> Model:
    """Keep the tokens that a text uses most.

    Args:
        model: to trim.
        text: whose tokens are counted; its single characters stay.
        tokens: how many tokens stay, special tokens counted: a number, or a share as ``"1/3"``.
        held_out: lines on which the smaller tokenizer is compared with the larger.
        progress: called while counting.

    Raises:
        UsageError: more tokens than the model has, or none.
    """
    step = _resolve("trim", ResolvedTrim, {"tokens": tokens}, model.shape)
    from harness.stages.trim import trim_to_text  # noqa: PLC0415  loads torch

    lines = [line for document in _group(text) for line in document]
    trimmed = trim_to_text(
        model.network,
        model.tokenizer,
        step.vocabulary,
        lambda: lines,
        held_out=held_out,
        progress=progress or _ignore,
    )
    return Model(trimmed.model, trimmed.tokenizer, model.has_new_head)


def shorten(model: Model, layers: int | Sequence[int], *, keep: str = "spread") -> Model:
    """Keep some of the layers.

    Args:
        model: to shorten.
        layers: how many stay, or the rising indices of those that stay.
        keep: which stay where a number is given: first, last, strided, strided-last or spread.

    Raises:
        UsageError: no layer stays, or a layer does not exist.
    """
    shape = model.shape
    number = layers if isinstance(layers, int) else len(layers)
    values = {"layers": f"{number}/{shape.layers}", "keep": keep if isinstance(layers, int) else list(layers)}
    step = _resolve("shorten", ResolvedShorten, values, shape)
    from harness.models.surgery import axes  # noqa: PLC0415  loads torch

    return Model(axes.shorten(model.network, step.layers), model.tokenizer, model.has_new_head)


def prune(
    model: Model,
    ffn: int,
    text: Lines = (),
    *,
    score: str = "taylor",
    rounds: int = 1,
    tokens: int = 32_768,
    batch_tokens: int = 2048,
    mask_fraction: float = 0.2,
    sequence_length: int = 128,
    seed: int = 1,
    progress: Progress | None = None,
) -> Model:
    """Keep the most important neurons of every feed-forward layer.

    Args:
        model: to prune.
        ffn: the neurons of each layer that stay.
        text: to score neurons on; ``score="magnitude"`` reads none.
        score: taylor, taylor_logits or magnitude.
        rounds: in how many equal parts the others are dropped, with new scores before each.
        tokens: of the text that are read; likewise the three after it.
        batch_tokens: tokens of a batch.
        mask_fraction: share of the positions to be predicted.
        sequence_length: tokens of the longest sequence.
        seed: of the masks.
        progress: called before each round.

    Raises:
        UsageError: the width or the score does not exist.
    """
    values = {"width": f"{ffn}/{model.shape.ffn}", "score": score, "rounds": rounds}
    if score != "magnitude":
        values |= {"tokens": tokens, "batch_tokens": batch_tokens, "mask_fraction": mask_fraction}
    step = _resolve(
        "prune",
        ResolvedPrune,
        values,
        model.shape,
        sequence_length=sequence_length,
        precision="fp32",
        seed=seed,
    )
    from harness.stages.prune import prune_in_rounds  # noqa: PLC0415  loads torch

    batches = partial(_make_batches, model, text, step.text)
    network, _ = prune_in_rounds(model.network, step, batches, progress or _ignore)
    return Model(network, model.tokenizer, model.has_new_head)


def narrow(
    model: Model,
    hidden: int,
    text: Lines = (),
    *,
    basis: str = "pca",
    heads: str = "narrowed",
    tokens: int = 32_768,
    batch_tokens: int = 2048,
    mask_fraction: float = 0.2,
    sequence_length: int = 128,
    seed: int = 1,
) -> Model:
    """Make the hidden states narrower.

    Args:
        model: to narrow.
        hidden: the new width, which is rounded to whole heads.
        text: to choose directions and fit maps on; ``basis="first"`` reads none.
        basis: pca, importance or first.
        heads: narrowed (all stay) or dropped (those that stay keep their size).
        tokens: of the text that are read; likewise the three after it.
        batch_tokens: tokens of a batch.
        mask_fraction: share of the positions to be predicted.
        sequence_length: tokens of the longest sequence.
        seed: of the masks.

    Raises:
        UsageError: the width leaves no head, or the basis does not exist.
    """
    values: dict[str, Any] = {"width": f"{hidden}/{model.shape.hidden}", "basis": basis, "heads": heads}
    if basis != "first":
        values |= {"tokens": tokens, "batch_tokens": batch_tokens, "mask_fraction": mask_fraction}
    step = _resolve(
        "narrow",
        ResolvedNarrow,
        values,
        model.shape,
        sequence_length=sequence_length,
        precision="fp32",
        seed=seed,
    )
    from harness.stages.narrow import narrow_model  # noqa: PLC0415  loads torch

    batches = _make_batches(model, text, step.text)
    return Model(narrow_model(model.network, step, batches), model.tokenizer, model.has_new_head)


def fit_head(
    model: Model,
    text: Lines,
    *,
    tokens: int = 200_000,
    learning_rate: float = 1e-3,
    batch_tokens: int = 4096,
    mask_fraction: float = 0.15,
    warmup_fraction: float = 0.06,
    sequence_length: int = 128,
    device_tokens: int | None = None,
    precision: str = "auto",
    seed: int = 1,
    progress: Progress | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    checkpoints: str | Path | None = None,
) -> Model:
    """Fit a masked-language head to a model that was published without one; the encoder stays.

    The arguments are those of `distill`.
    """
    values = {
        "tokens": tokens,
        "learning_rate": learning_rate,
        "batch_tokens": batch_tokens,
        "mask_fraction": mask_fraction,
        "warmup_fraction": warmup_fraction,
    }
    amounts = _make_amounts(sequence_length, precision, seed, device_tokens)
    step = _resolve_head(values, model.shape, amounts)
    trained = _train(
        model,
        None,
        text,
        amount=step.training,
        objective=None,
        progress=progress,
        callbacks=callbacks,
        checkpoints=checkpoints,
    )
    return Model(trained, model.tokenizer)


def distill(
    student: Model,
    teacher: Model,
    text: Lines,
    *,
    tokens: int,
    loss: Mapping[str, float] = DEFAULT_LOSS,
    positions: str = "attended",
    temperature: float | None = None,
    layers: str | None = None,
    learning_rate: float = 5e-4,
    batch_tokens: int = 2048,
    mask_fraction: float = 0.2,
    warmup_fraction: float = 0.06,
    dropout: float | None = 0.0,
    sequence_length: int = 128,
    device_tokens: int | None = None,
    precision: str = "auto",
    seed: int = 1,
    progress: Progress | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    checkpoints: str | Path | None = None,
) -> Model:
    """Train a student to imitate a teacher with the same tokens.

    Args:
        student: to train.
        teacher: to imitate.
        text: to train on, repeated or cut to the number of tokens.
        tokens: to train on in all.
        loss: losses and their weights; docs/recipes.md lists them.
        positions: attended or masked: where logits are compared.
        temperature: of the losses that use it.
        layers: which of the teacher's layers are compared with the student's, as ``uniform``.
        learning_rate: the highest.
        batch_tokens: tokens of an optimiser step.
        mask_fraction: share of the positions to be predicted.
        warmup_fraction: share of the steps in which the rate rises.
        dropout: while training; None leaves the student's.
        sequence_length: tokens of the longest sequence.
        device_tokens: the most that go through a model at once; a larger batch is accumulated.
        precision: fp32, bf16, or auto: bf16 where the hardware multiplies it.
        seed: of masks, order and dropout.
        progress: called after each step, with the loss among the values.
        callbacks: of transformers' trainer.
        checkpoints: a folder for checkpoints, from which a later call with equal arguments goes on.

    Raises:
        UsageError: a number or a loss does not fit.
        HarnessError: the training diverged.
    """
    values = {
        "teacher": "teacher",
        "loss": dict(loss),
        "positions": positions,
        "temperature": temperature,
        "layers": layers,
        "tokens": tokens,
        "learning_rate": learning_rate,
        "batch_tokens": batch_tokens,
        "mask_fraction": mask_fraction,
        "warmup_fraction": warmup_fraction,
        "dropout": dropout,
    }
    step = _resolve(
        "distill",
        ResolvedDistill,
        {name: value for name, value in values.items() if value is not None},
        student.shape,
        teacher=teacher.shape,
        sequence_length=sequence_length,
        precision=precision,
        seed=seed,
        device_tokens=device_tokens,
    )
    if teacher.has_new_head:
        raise HarnessError(
            "distill: expected a teacher with a masked-language head; got a new one; fit_head first"
        )
    from harness.stages.distill import make_objective  # noqa: PLC0415  loads torch

    objective = make_objective(step)
    trained = _train(
        student,
        teacher,
        text,
        amount=step.training,
        objective=objective,
        progress=progress,
        callbacks=callbacks,
        checkpoints=checkpoints,
    )
    return Model(trained, student.tokenizer)


def _train(
    student: Model,
    teacher: Model | None,
    text: Lines,
    *,
    amount: TrainingSettings,
    objective: Any,
    progress: Progress | None,
    callbacks: Sequence[TrainerCallback],
    checkpoints: str | Path | None,
) -> Any:
    """Return the network of the student after a training, by masked words alone where nothing teaches."""
    from harness.data.batches import pack  # noqa: PLC0415  loads torch
    from harness.stages.io.artifacts import make_budget  # noqa: PLC0415
    from harness.train.language_model import training  # noqa: PLC0415
    from harness.train.losses.objective import MLM  # noqa: PLC0415

    network = copy.deepcopy(student.network).requires_grad_(requires_grad=True)
    packed = pack(_group(text), student.tokenizer, amount.sequence_length)
    with tempfile.TemporaryDirectory() as scratch:
        training.train(
            network,
            student.tokenizer,
            packed,
            objective=objective or MLM,
            teacher=None if teacher is None else teacher.network,
            budget=make_budget(amount, packed),
            folder=Path(checkpoints or scratch),
            progress=progress or _ignore,
            callbacks=callbacks,
        )
    return network


def _make_batches(model: Model, text: Lines, settings: TextSettings | None) -> Iterable[Any]:
    if settings is None:
        return ()
    if not text:
        raise UsageError("text: expected lines to score the model on; got none; pass text")
    from harness.data.batches import pack  # noqa: PLC0415  loads torch
    from harness.stages.io.artifacts import make_masked_batches  # noqa: PLC0415

    packed = pack(_group(text), model.tokenizer, settings.sequence_length)
    return make_masked_batches(packed, model.tokenizer, settings)


def _group(text: Lines) -> Iterator[list[str]]:
    """Yield the documents of lines, as the corpus of a run and the files of a data folder have them."""
    return group(text, blank_lines=any(not line.strip() for line in text))


def _make_amounts(
    sequence_length: int = 128, precision: Any = "auto", seed: int = 1, device_tokens: int | None = None
) -> Amounts:
    return Amounts("the call", sequence_length, precision, seed, device_tokens=device_tokens)


def _resolve(
    kind: str,
    resolved: type[_Resolved],
    values: Mapping[str, Any],
    shape: Shape,
    *,
    teacher: Shape | None = None,
    **shared: Any,
) -> _Resolved:
    """Return a step with every number stated, checked as a recipe's is."""
    models = EarlierModels(shape, ())
    if teacher is not None:
        models = EarlierModels(
            teacher, (PlannedStep(_STUDENT, ResolvedTrim(vocabulary=shape.vocabulary), shape),)
        )
    try:
        step = build_step(WrittenStep(id=kind, kind=kind, values=dict(values)), shape.family)
        if isinstance(step, TaughtStep):
            check_teacher(step, models)
        result = step.resolve(models, _make_amounts(**shared))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{kind}: {place}: {first['msg']}") from None
    except PydanticCustomError as error:
        raise UsageError(f"{kind}: {error.message()}") from None
    if not isinstance(result, resolved):
        raise TypeError(f"{kind}: expected {resolved.__name__}; got {type(result).__name__}")
    return result


def _resolve_head(values: Mapping[str, Any], shape: Shape, amounts: Amounts) -> ResolvedHead:
    try:
        return Head.model_validate(values).resolve(EarlierModels(shape, ()), amounts)
    except ValidationError as error:
        raise UsageError(f"fit_head: {error.errors()[0]['msg']}") from None
    except PydanticCustomError as error:
        raise UsageError(f"fit_head: {error.message()}") from None


def _ignore(done: int, total: int, unit: str, values: dict[str, Any]) -> None:
    """Take no notice of progress."""
