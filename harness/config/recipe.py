"""A recipe is the ordered list of steps: the method of one published system."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from harness.config.losses import (
    DISTILL_LOSSES,
    TASK_LOSSES,
    LayerMap,
    Loss,
    LossSettings,
    LossStep,
    find_missing_setting,
    find_unused_setting,
    list_losses,
)
from harness.config.shape import FAMILIES, KNOWN_TEACHERS
from harness.config.values import (
    Count,
    Portion,
    Rate,
    RatioOrCount,
    RatioValue,
    Share,
    Strict,
    refusal,
    there_are,
)

PARTS = ("embeddings", "attention", "ffn", "norms", "mlm_head")
"""What a step that trains may leave as it is."""

KEEPS = ("first", "last", "strided", "strided-last", "spread")
"""Which layers a shorter model may keep, beside a list of them."""


class Step(Strict):
    """One step; it either changes the model's shape or trains it, never both."""

    kind: ClassVar[str]


class TrainedStep(Step):
    """A step that trains. What it leaves out, the scale must state.

    `epochs` are passes over the corpus, in place of `tokens`; a scale's tokens replace them. `text_fraction`
    is the share of its rows that are trained on, evenly spread. `mask_smoothing` masks rare tokens more
    often, in proportion to count to the power of less it (Conneau and Lample 2019).
    """

    tokens: Count | None = None
    epochs: Count | None = None
    learning_rate: Rate | None = None
    batch_tokens: Count | None = None
    mask_fraction: Share | None = None
    warmup_fraction: Portion | None = None
    dropout: Portion | None = None
    mask_smoothing: Share | None = None
    text_fraction: Share | None = None
    freeze: tuple[Literal["embeddings", "attention", "ffn", "norms", "mlm_head"], ...] | None = None

    @field_validator("freeze", mode="before")
    @classmethod
    def _read_freeze(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or not value:
            raise refusal(f"wanted parts of the model, as [embeddings]; got '{value}'")
        for name in value:
            if name not in PARTS:
                raise refusal(there_are("part", name, PARTS))
        return tuple(value)

    @model_validator(mode="after")
    def _check_amount(self) -> TrainedStep:
        if self.tokens is not None and self.epochs is not None:
            raise refusal("wanted tokens or epochs, not both; remove one")
        return self


class Blank(Step):
    """Take a fresh student in place of the model: random weights, its shape a share of the teacher's."""

    kind = "blank"
    layers: RatioValue
    width: RatioValue
    ffn: RatioValue
    embeddings: Literal["random", "copied"] = "random"


class Adapt(TrainedStep):
    """Train the teacher on with MLM, on the language's corpus."""

    kind = "adapt"


class Shorten(Step):
    """Keep some of the teacher's layers, or those listed.

    Of twelve, six ``strided`` are 0, 2, … 10; ``strided-last`` 1, 3, … 11; ``spread`` 0, 2, 4, 7, 9, 11.
    """

    kind = "shorten"
    layers: RatioValue
    keep: Literal["first", "last", "strided", "strided-last", "spread"] | tuple[int, ...]

    @field_validator("keep", mode="before")
    @classmethod
    def _read_keep(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            if any(isinstance(one, bool) or not isinstance(one, int) for one in value):
                raise refusal(f"wanted layer numbers, as [0, 2, 4]; got '{value}'")
            return tuple(value)
        if value not in KEEPS:
            raise refusal(there_are("value", value, (*KEEPS, "a list of layers")))
        return value


def _weights(value: Any, known: Mapping[str, Loss], example: str) -> dict[str, Any]:
    """Reads losses and their weights, each of a table."""
    if not isinstance(value, Mapping) or not value:
        raise refusal(f"wanted losses and their weights, as {example}; got '{value}'")
    for name in value:
        if name not in known:
            raise refusal(there_are("loss", name, known))
    return dict(value)


def _check_settings(names: Collection[str], settings: LossSettings, step: LossStep) -> None:
    """Refuse a setting that no loss uses, and a loss that lacks its setting."""
    reason = find_missing_setting(names, settings) or find_unused_setting(names, settings, step)
    if reason is not None:
        raise refusal(reason)


class Distill(TrainedStep):
    """Train the student to the corpus and to an earlier step's model.

    `layers` says which of the teacher's layers the student's are compared with, where a loss compares
    several; `projection: learned` puts a trained map between states of two widths; `relation_split` says into
    how many relation heads each of the teacher's heads is split.
    """

    kind = "distill"
    teacher: str
    loss: dict[str, Rate]
    temperature: Rate | None = None
    positions: Literal["attended", "masked"] = "attended"
    layers: LayerMap | None = None
    projection: Literal["learned"] | None = None
    relation_split: Count | None = None

    @property
    def loss_settings(self) -> LossSettings:
        """The settings that some losses use."""
        return LossSettings(self.temperature, self.layers, self.projection is not None, self.relation_split)

    @field_validator("loss", mode="before")
    @classmethod
    def _read_loss(cls, value: Any) -> Any:
        return _weights(value, DISTILL_LOSSES, "{mlm: 0.5, logit_mse: 0.5}")

    @model_validator(mode="after")
    def _check(self) -> Distill:
        _check_settings(self.loss, self.loss_settings, "distill")
        if set(self.loss) == {"mlm"}:
            raise refusal("wanted a loss that looks at the teacher; mlm alone is an adapt step")
        return self


class _ScoredStep(Step):
    """A step that may look at the language's text; what it leaves out, the scale must state."""

    tokens: Count | None = None
    batch_tokens: Count | None = None
    mask_fraction: Share | None = None

    def _refuse_text(self, reader: str) -> None:
        for name in _ScoredStep.model_fields:
            if getattr(self, name) is not None:
                raise refusal(f"{name} is used by {reader} only; remove it")


class Prune(_ScoredStep):
    """Drop FFN neurons, the least important first; `rounds` times, an equal part each."""

    kind = "prune"
    width: RatioValue
    score: Literal["taylor", "taylor_logits", "magnitude"]
    rounds: Count = 1

    @model_validator(mode="after")
    def _check(self) -> Prune:
        if self.score == "magnitude":
            self._refuse_text("score: taylor and taylor_logits")
        return self


class Narrow(_ScoredStep):
    """Make the hidden states narrower: by narrower heads (all kept) or by fewer (of the teacher's size).

    `basis` says which directions of the residual stream stay, `within` which of a narrowed head, and `refit`
    whether every map and norm is then fitted to the wide model on text. Unless told, `pca` takes `svd` and
    fits, the others do neither.
    """

    kind = "narrow"
    width: RatioValue
    basis: Literal["first", "importance", "pca"]
    heads: Literal["narrowed", "dropped"] = "narrowed"
    within: Literal["first", "svd"] | None = None
    refit: bool | None = None

    @property
    def fits(self) -> bool:
        """Whether maps and norms are fitted."""
        return self.basis == "pca" if self.refit is None else self.refit

    @property
    def part(self) -> str:
        """Which dimensions of a narrowed head stay."""
        narrowed_by_svd = self.basis == "pca" and self.heads == "narrowed"
        return self.within or ("svd" if narrowed_by_svd else "first")

    @property
    def reads_text(self) -> bool:
        """Whether the step looks at text."""
        return self.fits or self.basis != "first"

    @model_validator(mode="after")
    def _check(self) -> Narrow:
        if not self.reads_text:
            self._refuse_text("basis: importance, basis: pca and refit")
        if self.within == "svd" and self.heads == "dropped":
            raise refusal("within: svd narrows heads, heads: dropped leaves those it keeps whole; remove one")
        return self


class Trim(Step):
    """Keep the tokens the language uses; the number counts the special tokens."""

    kind = "trim"
    tokens: RatioOrCount


class Tune(Step):
    """Have the student learn each task from an earlier model fine-tuned on it; the last step of a recipe.

    How long and how fast is the scale's, as for every other model. `start: tuned` begins with the layers,
    embeddings and head of the fine-tuned model in place of the student's own. `method: sft` trains all, and
    then anew the head and the `density` of the other weights that had moved most.
    """

    kind = "tune"
    teacher: str
    loss: dict[str, Rate]
    temperature: Rate | None = None
    layers: LayerMap | None = None
    start: Literal["student", "tuned"] = "student"
    method: Literal["full", "sft"] = "full"
    density: Share | None = None

    @property
    def loss_settings(self) -> LossSettings:
        """The settings that some losses use."""
        return LossSettings(self.temperature, self.layers)

    @field_validator("loss", mode="before")
    @classmethod
    def _read_loss(cls, value: Any) -> Any:
        return _weights(value, TASK_LOSSES, "{labels: 0.5, class_kl: 0.5}")

    @model_validator(mode="after")
    def _check(self) -> Tune:
        _check_settings(self.loss, self.loss_settings, "tune")
        if (self.method == "sft") != (self.density is not None):
            raise refusal("method: sft and density go together, as density: 0.08; add or remove one")
        if set(self.loss) == {"labels"} and self.start == "student":
            raise refusal(
                "wanted a loss that looks at the teacher; labels alone is how every student learns a task"
            )
        return self


def learns_from_scratch(kind: str, loss: Collection[str], earlier: Collection[str]) -> bool:
    """Says whether random weights learn from words alone: a step distils MLM and logits after a `blank` step.

    Args:
        kind: of the step.
        loss: names of its losses; a step without any has none.
        earlier: ids of the steps before it.
    """
    words = {"mlm", *list_losses("logits")}
    return kind == Distill.kind and Blank.kind in earlier and words.issuperset(loss)


KINDS: dict[str, type[Step]] = {
    kind.kind: kind for kind in (Adapt, Shorten, Blank, Distill, Prune, Narrow, Trim, Tune)
}


class WrittenStep(Strict):
    """A step as the file has it: a value may still be written per family."""

    id: str
    kind: str
    values: dict[str, Any]


class Recipe(Strict):
    """One published system, with one variant applied; `harness.config.load.load_recipe` makes it.

    With `source_language` the steps see as much text of that language as of the run's own.
    """

    name: str
    source: str
    teacher: str
    source_language: str | None = None
    notes: tuple[str, ...] = ()
    steps: tuple[WrittenStep, ...]
    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("teacher")
    @classmethod
    def _check_teacher(cls, value: str) -> str:
        if value not in KNOWN_TEACHERS:
            raise refusal(there_are("teacher", value, KNOWN_TEACHERS))
        return value

    @field_validator("notes", mode="before")
    @classmethod
    def _read_notes(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    def steps_for(self, family: str) -> tuple[Step, ...]:
        """Gives the steps with the values of one model family."""
        return tuple(build_step(step, family) for step in self.steps)


def build_step(step: WrittenStep, family: str) -> Step:
    """Checks a written step against its kind's schema, with the values of one family."""
    return KINDS[step.kind].model_validate({key: _pick(value, family) for key, value in step.values.items()})


def _pick(value: Any, family: str) -> Any:
    """Gives a per-family value's entry for the family; any other value as it is."""
    if not isinstance(value, Mapping) or not value or not set(value) & set(FAMILIES):
        return value
    for name in value:
        if name not in FAMILIES:
            raise refusal(there_are("model family", name, FAMILIES))
    if family not in value:
        raise refusal(f"states no value for the model family '{family}'; it has: {', '.join(value)}")
    return value[family]
