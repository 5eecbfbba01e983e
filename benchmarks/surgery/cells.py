"""Cells of `benchmarks.surgery losses`: a shape change of a teacher, then an equal small distillation.

Every student of a language is distilled from the same teacher on the same text for the same number of tokens.
The teacher's vocabulary is trimmed to the language first, which saves time; only the comparison of trimming
before and after starts from the whole vocabulary.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from harness.data import corpus, folder
from harness.data.batches import Packed, pack
from harness.families import FAMILIES
from harness.models import tokenizers
from harness.models.loading.checkpoint import Checkpoint, load_checkpoint
from harness.models.narrowing.basis import principal_basis
from harness.models.narrowing.narrow import narrow_on_text
from harness.models.narrowing.refit import refit
from harness.models.surgery.axes import narrow, prune_ffn, rebuild_model, select_indices, shorten
from harness.models.surgery.embeddings import factorize_embeddings
from harness.models.surgery.importance import Criterion, keep_top, measure_ffn_importance
from harness.train.language_model.batches import MaskedBatches
from harness.train.language_model.budget import Budget
from harness.train.language_model.training import measure_held_out_loss, train
from harness.train.losses.objective import Objective

OBJECTIVE = Objective({"mlm": 0.5, "logit_mse": 0.5}, "attended")
WIDTHS = ("3/4", "1/2", "3/8")
"""Shares of the hidden size: whole blocks of 32, near the paper's 564, 456 and 312 of 768."""

WHOLE_HEADS = ("3/4", "1/2")
"""Widths that are whole heads of a teacher of four heads."""

FFN_WIDTHS = ("2/3", "1/3")
ROUNDS = 4
SEVERAL = f"{ROUNDS} rounds"
BASES = ("first", "importance", "pca")


class Way(NamedTuple):
    """How a model is narrowed.

    Attributes:
        basis: choice of the directions of the hidden states that stay.
        within: choice of the directions of a narrowed head that stay.
        refit: whether maps and norms are fitted.
        whole_heads: whether fewer heads of the same width stay.
    """

    basis: Literal["first", "importance", "pca"]
    within: Literal["first", "svd"] = "first"
    refit: bool = False
    whole_heads: bool = False


WAYS: Mapping[str, Way] = {
    "first": Way("first"),
    "importance": Way("importance"),
    "pca": Way("pca", "svd", refit=True),
    "first, refitted": Way("first", "svd", refit=True),
    "importance, refitted": Way("importance", "svd", refit=True),
    "pca, not refitted": Way("pca", "svd"),
    "pca, first of each head": Way("pca", "first", refit=True),
    "pca, whole heads": Way("pca", "svd", refit=True, whole_heads=True),
}
"""Ways by name: the defaults of a recipe for its three bases, then variants of them."""

ALIKE = "pca, all places alike"
"""The embeddings count as one place of the hidden states among many."""

MIXED = "first rows of every tensor"
"""The method of public code: the first rows of queries, keys and values too, whatever head they belong to."""

SCORES: Mapping[str, Criterion] = {
    "one shot": "taylor",
    "one shot, magnitude": "magnitude",
    "one shot, taylor_logits": "taylor_logits",
}
LAYERS: Mapping[str, tuple[int, int]] = {
    "first": (0, 1),
    "last": (2, 3),
    "strided": (0, 2),
    "first and last": (0, 3),
}
"""Halves of a teacher of four layers, which `Bench` asks for."""


@dataclass(frozen=True)
class Setting:
    """Amounts of text and training, the same for every cell.

    Attributes:
        vocabulary: tokens kept of the teacher's.
        look_tokens: tokens of the text for importance, bases and fits.
        tokens: tokens of the distillation.
        held_out_tokens: tokens of the text on which losses are measured.
        length: tokens in a row.
        batch_tokens: tokens in an optimiser step.
        learning_rate: peak of the learning rate.
        precision: precision of the training.
    """

    vocabulary: int = 8000
    look_tokens: int = 16384
    tokens: int = 32768
    held_out_tokens: int = 16384
    length: int = 128
    batch_tokens: int = 512
    learning_rate: float = 1e-3
    precision: str = "bf16"

    def budget(self, seed: int) -> Budget:
        """Return the budget of the distillation."""
        return Budget(
            tokens=self.tokens,
            batch_tokens=self.batch_tokens,
            sequence_length=self.length,
            learning_rate=self.learning_rate,
            warmup_fraction=0.1,
            mask_fraction=0.2,
            precision="bf16" if self.precision == "bf16" else "fp32",
            seed=seed,
            dropout=0.0,
            checkpoint_s=1e9,
        )


@dataclass(frozen=True)
class Cell:
    """One row of the record.

    Attributes:
        change: ``narrow``, ``prune``, ``shorten``, ``factorise``, ``trim`` or ``teacher``.
        way: how the shape is changed.
        width: share of the teacher's width; none for ``trim``.
        seed: seed of the masks of the text for bases and fits, and of the distillation.
        distilled: whether the student is also trained.
    """

    change: str
    way: str
    width: str | None
    seed: int
    distilled: bool = True

    @property
    def name(self) -> str:
        """A name that no other cell has."""
        return f"{self.change} {self.way} {self.width} {self.seed}"


def list_cells(seeds: Sequence[int]) -> Iterator[Cell]:
    """Yield every cell of a language: narrowing with all seeds, then the rest, the trials last."""
    yield Cell("teacher", "trimmed", None, 0, distilled=False)
    for seed in seeds:
        yield from (Cell("narrow", way, width, seed) for way in BASES for width in WIDTHS)
    yield from _list_narrowed()
    for seed in seeds:
        yield from (Cell("prune", way, width, seed) for way in ("one shot", SEVERAL) for width in FFN_WIDTHS)
        yield from (Cell("trim", way, None, seed) for way in ("before", "after"))
    scored = [way for way in SCORES if way != "one shot"]
    yield from (Cell("prune", way, width, 1, distilled=False) for way in scored for width in FFN_WIDTHS)
    yield from (Cell("shorten", way, "1/2", 1) for way in LAYERS)
    yield from (Cell("factorise", "pca", width, 1) for width in ("1/2", "1/4"))


def suits(cell: Cell, family: str) -> bool:
    """Return whether a family can be changed so, by another way than it is already.

    Of a family whose heads are dropped whole, every way drops them, and its own maps fit no narrower head.
    """
    if cell.change != "narrow" or not FAMILIES[family].whole_heads:
        return True
    return cell.way in WAYS and not WAYS[cell.way].whole_heads and cell.way != "pca, first of each head"


def _list_narrowed() -> Iterator[Cell]:
    """Yield the other ways to narrow, with one seed."""
    ways = [way for way in (*WAYS, ALIKE, MIXED) if way not in BASES]
    for way in ways:
        widths = WHOLE_HEADS if way in WAYS and WAYS[way].whole_heads else WIDTHS
        yield from (Cell("narrow", way, width, 1, distilled=False) for width in widths)
    yield from (Cell("narrow", way, "1/1", 1, distilled=False) for way in (*BASES, "pca, not refitted"))


class Bench:
    """A teacher and the text of one language."""

    def __init__(self, teacher: Path, data: Path, language: str, setting: Setting) -> None:
        self.setting, self.whole = setting, load_checkpoint(teacher)
        self.split = corpus.prepare(folder.read_corpus(data, language), held_out_fraction=0.05, seed=17)

    @cached_property
    def kept(self) -> Any:
        """The ids the language uses most."""
        lines = [line for document in self.split.train for line in document]
        counts = tokenizers.count_tokens(self.whole.tokenizer, lines)
        return tokenizers.choose_tokens(counts, self.setting.vocabulary, self.whole.tokenizer)

    @cached_property
    def teacher(self) -> Checkpoint:
        """The teacher with these alone."""
        return self._trim(self.whole.model)

    def _trim(self, model: Any) -> Checkpoint:
        trimmed = tokenizers.trim_vocabulary(model, self.whole.tokenizer, self.kept)
        return Checkpoint(trimmed.model, trimmed.tokenizer)

    @cache  # noqa: B019 - there are two, needed until the end
    def _packed(self, *, whole: bool) -> Packed:
        tokenizer = (self.whole if whole else self.teacher).tokenizer
        return pack(self.split.train, tokenizer, self.setting.length)

    @cache  # noqa: B019 - one a seed
    def draw_batches(self, seed: int) -> list[dict[str, Tensor]]:
        """Return the masked batches for importance, bases and fits."""
        budget = replace(self.setting.budget(seed), tokens=self.setting.look_tokens)
        batches = MaskedBatches(self._packed(whole=False), self.teacher.tokenizer, budget)
        return [batches[number] for number in range(len(batches))]

    def measure_loss(self, model: Any) -> float:
        """Return the MLM loss, nats, of a model of the trimmed vocabulary on held-out text."""
        losses = measure_held_out_loss(
            model,
            self.teacher.tokenizer,
            self.split.held_out,
            budget=self.setting.budget(0),
            max_tokens=self.setting.held_out_tokens,
        )
        return losses["loss"]

    def distill(self, student: Any, seed: int, *, whole: bool = False) -> Any:
        """Return the student, trained for the small budget."""
        teacher = self.whole if whole else self.teacher
        with tempfile.TemporaryDirectory() as scratch:
            train(
                student,
                teacher.tokenizer,
                self._packed(whole=whole),
                objective=OBJECTIVE,
                teacher=teacher.model,
                budget=self.setting.budget(seed),
                folder=Path(scratch),
                progress=lambda *_: None,
            )
        return student

    def run(self, cell: Cell) -> dict[str, float | None]:
        """Return the loss right after the change, and after the distillation."""
        return _RUNS[cell.change](self, cell)


def _run_teacher(bench: Bench, cell: Cell) -> dict[str, float | None]:  # noqa: ARG001 - one shape for all
    return {"before": bench.measure_loss(bench.teacher.model), "after": None}


def _run_change(make: Callable[[Bench, Cell], Any]) -> Callable[[Bench, Cell], dict[str, float | None]]:
    def run(bench: Bench, cell: Cell) -> dict[str, float | None]:
        student = make(bench, cell)
        before = bench.measure_loss(student)
        after = bench.measure_loss(bench.distill(student, cell.seed)) if cell.distilled else None
        return {"before": before, "after": after}

    return run


def scale_width(width: str | None, whole: int, unit: int = 1) -> int:
    """Return a share of a size, in whole units."""
    over, under = map(int, (width or "1/1").split("/"))
    return unit * round(over * whole / under / unit)


def _narrow(bench: Bench, cell: Cell) -> Any:
    model = bench.teacher.model
    heads, now = model.config.num_attention_heads, model.config.hidden_size
    hidden = scale_width(cell.width, now, heads)
    if cell.way == MIXED:
        first = torch.arange(hidden)
        return rebuild_model(model, select_indices(model, {"D": first, "A": first}), hidden_size=hidden)
    text = bench.draw_batches(cell.seed)
    if cell.way == ALIKE:
        basis_DS = principal_basis(model, text, hidden, embeddings_weight=None)
        return rebuild_model(model, refit(model, basis_DS, heads, text), hidden_size=hidden)
    way = WAYS[cell.way]
    if way.whole_heads or FAMILIES[model.config.model_type].whole_heads:
        hidden = scale_width(cell.width, now, now // heads)
        heads = hidden * heads // now
    if way == WAYS["first"]:
        return narrow(model, hidden, heads)
    return narrow_on_text(model, hidden, heads, text, basis=way.basis, within=way.within, refit=way.refit)


def _prune(bench: Bench, cell: Cell) -> Any:
    model = bench.teacher.model
    now = model.config.intermediate_size
    target, rounds = scale_width(cell.width, now), 1 if cell.way in SCORES else ROUNDS
    batches = bench.draw_batches(cell.seed)
    for done in range(1, rounds + 1):
        scores = measure_ffn_importance(model, batches, SCORES.get(cell.way, "taylor"))
        model = prune_ffn(model, keep_top(scores, now - (now - target) * done // rounds))
    return model


def _shorten(bench: Bench, cell: Cell) -> Any:
    return shorten(bench.teacher.model, LAYERS[cell.way])


def _factorise(bench: Bench, cell: Cell) -> Any:
    model = bench.teacher.model
    return factorize_embeddings(
        model, scale_width(cell.width, model.config.hidden_size), bench.draw_batches(cell.seed)
    )


def _run_trim(bench: Bench, cell: Cell) -> dict[str, float | None]:
    """Distil the last half of the layers, with the vocabulary trimmed before or after."""
    layers = bench.whole.model.config.num_hidden_layers
    teacher = bench.teacher if cell.way == "before" else bench.whole
    student = shorten(teacher.model, range(layers // 2, layers))
    before = bench.measure_loss(student if cell.way == "before" else bench._trim(student).model)
    learnt = bench.distill(student, cell.seed, whole=cell.way == "after")
    return {
        "before": before,
        "after": bench.measure_loss(learnt if cell.way == "before" else bench._trim(learnt).model),
    }


_RUNS: dict[str, Callable[[Bench, Cell], dict[str, float | None]]] = {
    "teacher": _run_teacher,
    "narrow": _run_change(_narrow),
    "prune": _run_change(_prune),
    "shorten": _run_change(_shorten),
    "factorise": _run_change(_factorise),
    "trim": _run_trim,
}
