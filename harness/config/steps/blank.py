"""Blank: take a student of random weights in place of the model."""

from __future__ import annotations

from typing import Literal

from harness.config.amounts import Amounts
from harness.config.shape import Shape
from harness.config.steps.base import EarlierModels, ResolvedStep, Step
from harness.config.values import RatioValue, nearest, refusal


class Blank(Step):
    """Take a student of random weights in place of the model, its shape a share of the teacher's."""

    kind = "blank"
    needs = ("blank",)
    layers: RatioValue
    width: RatioValue
    ffn: RatioValue
    embeddings: Literal["random", "copied"] = "random"

    def resolve(self, models: EarlierModels, amounts: Amounts) -> ResolvedBlank:
        """Return the student's shape: the teacher's number of heads, in the model's vocabulary."""
        teacher, current = models.teacher, models.current
        layers, ffn = nearest(self.layers.times(teacher.layers)), nearest(self.ffn.times(teacher.ffn))
        hidden = teacher.heads * nearest(self.width.times(teacher.hidden) / teacher.heads)
        for name, number, share in (
            ("layer", layers, self.layers),
            ("neuron", ffn, self.ffn),
            ("head", hidden, self.width),
        ):
            if number < 1:
                raise refusal(f"{share} leaves no {name}; take more")
        if self.embeddings == "copied" and hidden != current.hidden:
            raise refusal(
                f"embeddings of {current.hidden} cannot be copied into a width of {hidden}; take random ones"
            )
        sizes = {"layers": layers, "hidden": hidden, "ffn": ffn, "heads": teacher.heads}
        shape = current.model_copy(update=sizes)
        return ResolvedBlank(shape=shape, embeddings=self.embeddings, seed=amounts.seed)


class ResolvedBlank(ResolvedStep):
    """The student's shape, and where its weights come from."""

    kind = Blank.kind
    shape: Shape
    embeddings: Literal["random", "copied"]
    seed: int

    def change_shape(self, shape: Shape) -> Shape:
        """Return the student's shape, whatever the model's was."""
        del shape
        return self.shape

    def describe(self) -> str:
        """Return the student's size and the origin of its weights in words."""
        weights = "random weights" if self.embeddings == "random" else "random weights but for the embeddings"
        return f"{self.shape.layers} layers of {self.shape.hidden}, {weights}"
