"""Load a model and change its shape: what the steps of a recipe do, on objects in memory.

No function changes what it is given: each returns a new model. Nothing is kept between calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from harness.config.amounts import Amounts, TextSettings
from harness.config.recipe import WrittenStep, build_step
from harness.config.shape import Shape
from harness.config.steps.base import EarlierModels, PlannedStep, ResolvedStep, TaughtStep, check_teacher
from harness.config.steps.narrow import ResolvedNarrow
from harness.config.steps.prune import ResolvedPrune
from harness.config.steps.retokenize import ResolvedRetokenize
from harness.config.steps.shorten import ResolvedShorten
from harness.config.steps.trim import ResolvedTrim
from harness.data.corpus import group
from harness.data.text import read_lines
from harness.errors import UsageError

Lines: TypeAlias = Sequence[str]
"""The lines of a text, in order; a blank line ends a document."""
Progress: TypeAlias = Callable[[int, int, str, dict[str, Any]], None]
"""Called with how much is done, of how much, in which unit, and with further values, as the loss."""

_STUDENT = "student"
_USUAL_LENGTH = 128
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
    tokens: int | str | None = None,
    *,
    held_out: Lines = (),
    progress: Progress | None = None,
    **rule: float,
) -> Model:
    """Keep the tokens that a text uses: a number of them, or those that a rule chooses.

    Args:
        model: to trim.
        text: whose tokens are counted; its single characters stay.
        tokens: how many tokens stay, special tokens counted: a number, or a share as ``"1/3"``; with a rule,
            the most that stay.
        held_out: lines on which the smaller tokenizer is compared with the larger.
        progress: called while counting.
        rule: one rule of the step `trim` with its share, as ``coverage=0.999``.

    Raises:
        UsageError: more tokens than the model has, or none; neither number nor rule, or two rules.
    """
    values = {**({} if tokens is None else {"tokens": tokens}), **rule}
    step = resolve_step("trim", ResolvedTrim, values, model.shape)
    from harness.stages.trim import trim_to_text  # noqa: PLC0415  loads torch

    documents = list(group_lines(text))
    trimmed = trim_to_text(
        model.network,
        model.tokenizer,
        step,
        [lambda: documents],
        held_out=held_out,
        progress=progress or ignore_progress,
    )
    return Model(trimmed.model, trimmed.tokenizer, model.has_new_head)


def retokenize(model: Model, text: Lines, vocabulary: int | str) -> Model:
    """Learn a vocabulary from a text in place of the model's; train the model after it.

    Args:
        model: whose rows the new rows are made of.
        text: whose words are learned from.
        vocabulary: how many tokens, special tokens counted: a number, or a share of the model's as ``"1/3"``.

    Raises:
        UsageError: no token.
        HarnessError: the text is too little for so many tokens, or has too many characters.
    """
    step = resolve_step("retokenize", ResolvedRetokenize, {"vocabulary": vocabulary}, model.shape)
    from harness.stages.retokenize import retokenize_to_text  # noqa: PLC0415  loads torch

    lines = (line for document in group_lines(text) for line in document)
    network, new = retokenize_to_text(model.network, model.tokenizer, step.vocabulary, lines)
    return Model(network, new.tokenizer, model.has_new_head)


def shorten(
    model: Model,
    layers: int | Sequence[int],
    text: Lines = (),
    *,
    keep: str = "spread",
    tokens: int = 8192,
    batch_tokens: int = 2048,
    mask_fraction: float = 0.2,
    sequence_length: int | None = None,
    seed: int = 1,
    progress: Progress | None = None,
) -> Model:
    """Keep some of the layers.

    Args:
        model: to shorten.
        layers: how many stay, or the rising indices of those that stay.
        text: on which the loss without each layer is measured; only ``keep="influence"`` reads it.
        keep: which stay where a number is given: first, last, strided, strided-last, spread or influence.
        tokens: of the text that are read; likewise the three after it.
        batch_tokens: tokens of a batch.
        mask_fraction: share of the positions to be predicted.
        sequence_length: tokens of the longest sequence; None: 128, or as many as the model takes.
        seed: of the masks.
        progress: called before each layer that influence leaves out.

    Raises:
        UsageError: no layer stays, or a layer does not exist.
    """
    shape = model.shape
    number = layers if isinstance(layers, int) else len(layers)
    values: dict[str, Any] = {"layers": f"{number}/{shape.layers}", "keep": keep}
    shared: dict[str, Any] = {}
    if not isinstance(layers, int):
        values["keep"] = list(layers)
    elif keep == "influence":
        values |= {"tokens": tokens, "batch_tokens": batch_tokens, "mask_fraction": mask_fraction}
        length = choose_sequence_length(sequence_length, model)
        shared = {"sequence_length": length, "precision": "fp32", "seed": seed}
    step = resolve_step("shorten", ResolvedShorten, values, shape, **shared)
    from harness.models.surgery import axes  # noqa: PLC0415  loads torch
    from harness.models.surgery.influence import choose_by_influence  # noqa: PLC0415

    kept = step.layers
    if step.number is not None:
        batches = list(_make_batches(model, text, step.text))
        kept, _ = choose_by_influence(model.network, batches, step.number, progress or ignore_progress)
    return Model(axes.shorten(model.network, kept), model.tokenizer, model.has_new_head)


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
    sequence_length: int | None = None,
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
        sequence_length: tokens of the longest sequence; None: 128, or as many as the model takes.
        seed: of the masks.
        progress: called before each round.

    Raises:
        UsageError: the width or the score does not exist.
    """
    values = {"width": f"{ffn}/{model.shape.ffn}", "score": score, "rounds": rounds}
    if score != "magnitude":
        values |= {"tokens": tokens, "batch_tokens": batch_tokens, "mask_fraction": mask_fraction}
    step = resolve_step(
        "prune",
        ResolvedPrune,
        values,
        model.shape,
        sequence_length=choose_sequence_length(sequence_length, model),
        precision="fp32",
        seed=seed,
    )
    from harness.stages.prune import prune_in_rounds  # noqa: PLC0415  loads torch

    batches = partial(_make_batches, model, text, step.text)
    network, _ = prune_in_rounds(model.network, step, batches, progress or ignore_progress)
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
    sequence_length: int | None = None,
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
        sequence_length: tokens of the longest sequence; None: 128, or as many as the model takes.
        seed: of the masks.

    Raises:
        UsageError: the width leaves no head, or the basis does not exist.
    """
    values: dict[str, Any] = {"width": f"{hidden}/{model.shape.hidden}", "basis": basis, "heads": heads}
    if basis != "first":
        values |= {"tokens": tokens, "batch_tokens": batch_tokens, "mask_fraction": mask_fraction}
    step = resolve_step(
        "narrow",
        ResolvedNarrow,
        values,
        model.shape,
        sequence_length=choose_sequence_length(sequence_length, model),
        precision="fp32",
        seed=seed,
    )
    from harness.stages.narrow import narrow_model  # noqa: PLC0415  loads torch

    batches = _make_batches(model, text, step.text)
    return Model(narrow_model(model.network, step, batches), model.tokenizer, model.has_new_head)


def _make_batches(model: Model, text: Lines, settings: TextSettings | None) -> Iterable[Any]:
    if settings is None:
        return ()
    if not text:
        raise UsageError("text: expected lines to score the model on; got none; pass text")
    from harness.data.batches import pack  # noqa: PLC0415  loads torch
    from harness.stages.io.artifacts import make_masked_batches  # noqa: PLC0415

    packed = pack(group_lines(text), model.tokenizer, settings.sequence_length)
    return make_masked_batches(packed, model.tokenizer, settings)


def group_lines(text: Lines) -> Iterator[list[str]]:
    """Yield the documents of lines, as the corpus of a run and the files of a data folder have them."""
    return group(text, blank_lines=any(not line.strip() for line in text))


def choose_sequence_length(asked: int | None, *models: Model) -> int:
    """Return the tokens of the longest sequence: as asked, else 128 or as many as all the models take.

    Raises:
        UsageError: a model takes fewer than asked.
    """
    longest = min(model.shape.max_length for model in models)
    if asked is not None and asked > longest:
        raise UsageError(
            f"sequence_length: expected at most {longest}, the positions of the model; got {asked}; lower it"
        )
    return min(_USUAL_LENGTH, longest) if asked is None else asked


def make_amounts(
    sequence_length: int = 128, precision: Any = "auto", seed: int = 1, device_tokens: int | None = None
) -> Amounts:
    """Return the amounts that a call states in place of a scale."""
    return Amounts("the call", sequence_length, precision, seed, device_tokens=device_tokens)


@contextmanager
def refuse_in_one_line(name: str) -> Iterator[None]:
    """Turn what a step refuses into a usage error that names the function and the argument."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{name}: {place}: {first['msg']}") from None
    except PydanticCustomError as error:
        raise UsageError(f"{name}: {error.message()}") from None


def resolve_step(
    kind: str,
    resolved: type[_Resolved],
    values: Mapping[str, Any],
    shape: Shape,
    *,
    teacher: Shape | None = None,
    same_tokens: bool = True,
    **shared: Any,
) -> _Resolved:
    """Return a step with every number stated, checked as a recipe's is."""
    models = EarlierModels(shape, ())
    if teacher is not None:
        before = (ResolvedTrim if same_tokens else ResolvedRetokenize)(vocabulary=shape.vocabulary)
        models = EarlierModels(teacher, (PlannedStep(_STUDENT, before, shape),))
    with refuse_in_one_line(kind):
        step = build_step(WrittenStep(id=kind, kind=kind, values=dict(values)), shape.family)
        if isinstance(step, TaughtStep):
            check_teacher(step, models)
        result = step.resolve(models, make_amounts(**shared))
    if not isinstance(result, resolved):
        raise TypeError(f"{kind}: expected {resolved.__name__}; got {type(result).__name__}")
    return result


def ignore_progress(done: int, total: int, unit: str, values: dict[str, Any]) -> None:
    """Take no notice of progress."""
