"""Narrow: make the hidden states narrower."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from harness.config.amounts import Amounts, TextSettings
from harness.config.shape import Shape
from harness.config.steps.base import EarlierModels, ResolvedStep, TextStep
from harness.config.values import RatioValue, nearest, refusal
from harness.families import FAMILIES, Support

Basis = Literal["first", "importance", "pca"]
Heads = Literal["narrowed", "dropped"]
Within = Literal["first", "svd"]


class Narrow(TextStep):
    """Make the hidden states narrower: by narrower heads (all kept) or by fewer (of the teacher's size).

    `basis` says which directions of the residual stream stay, `within` which of a narrowed head, and `refit`
    whether every map and norm is then fitted to the wide model on text. By default `pca` takes `svd` and
    fits, and the other bases do neither.
    """

    kind = "narrow"
    width: RatioValue
    basis: Basis
    heads: Heads = "narrowed"
    within: Within | None = None
    refit: bool | None = None

    @property
    def refits(self) -> bool:
        """Whether maps and norms are fitted."""
        return self.basis == "pca" if self.refit is None else self.refit

    @property
    def kept_within(self) -> Within:
        """Which dimensions of a narrowed head stay."""
        return self.within or ("svd" if self.basis == "pca" and self.heads == "narrowed" else "first")

    @property
    def reads_text(self) -> bool:
        """Whether the step reads text."""
        return self.refits or self.basis != "first"

    @model_validator(mode="after")
    def _check(self) -> Narrow:
        if not self.reads_text:
            self.refuse_text("basis: importance, basis: pca and refit")
        if self.within == "svd" and self.heads == "dropped":
            raise refusal("within: svd narrows heads, heads: dropped leaves those it keeps whole; remove one")
        return self

    def list_needs(self) -> tuple[Support, ...]:
        """Return what a family must support for this step."""
        return ("narrow", "narrow on text") if self.refits or self.basis == "pca" else ("narrow",)

    def resolve(self, models: EarlierModels, amounts: Amounts) -> ResolvedNarrow:
        """Return the new width, which is of whole heads, and the text that the step reads."""
        current, whole = models.current, models.teacher.hidden
        if FAMILIES[current.family].whole_heads and self.heads != "dropped":
            raise refusal(
                f"expected heads: dropped for {current.family}, whose positions rotate the dimensions of a "
                f"head in pairs; got heads: {self.heads}; change it"
            )
        unit = current.heads if self.heads == "narrowed" else current.head_size
        hidden = unit * nearest(self.width.times(whole) / unit)
        if hidden < 1:
            reason = (
                f"each of its {current.heads} heads needs a width of one or more"
                if self.heads == "narrowed"
                else f"one of its heads is {current.head_size} wide"
            )
            raise refusal(f"width {self.width} of {whole} leaves no head: {reason}; keep more")
        if hidden > current.hidden:
            raise refusal(
                f"width {self.width} keeps {hidden}; the model is {current.hidden} wide by now; keep less"
            )
        if hidden == current.embedding:
            raise refusal(
                f"width {self.width} keeps {hidden}, the width of the embeddings, which have a map to the "
                "hidden states; choose another"
            )
        return ResolvedNarrow(
            hidden=hidden,
            heads=current.heads if self.heads == "narrowed" else hidden // current.head_size,
            basis=self.basis,
            heads_mode=self.heads,
            within=self.kept_within,
            refit=self.refits,
            text=self.resolve_text(models, amounts) if self.reads_text else None,
        )


class ResolvedNarrow(ResolvedStep):
    """The new width and number of heads, what of each stays, and the text that is read where any is."""

    kind = Narrow.kind
    hidden: int
    heads: int
    basis: Basis
    heads_mode: Heads
    within: Within
    refit: bool
    text: TextSettings | None = None

    def change_shape(self, shape: Shape) -> Shape:
        """Return the shape with narrower hidden states."""
        return shape.model_copy(update={"hidden": self.hidden, "heads": self.heads})

    def describe(self) -> str:
        """Return the width, the basis and the heads in words."""
        described = f"hidden {self.hidden} by {self.basis}, {self.heads} heads {self.heads_mode}"
        return described + (" by svd" if self.within == "svd" else "") + (", refitted" if self.refit else "")

    def to_config(self) -> dict[str, Any]:
        """Return the config; the plainest narrowing, which had no other way once, says nothing of its way."""
        config = super().to_config()
        if self.within == "first" and self.text is None:
            del config["within"], config["refit"]
        return config
