"""Tune: distil the student on each task from an earlier model that was fine-tuned on it."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from harness.config.amounts import Amounts
from harness.config.losses import TASK_LOSSES, LayerMap, describe_weights
from harness.config.steps.base import TEACHER, EarlierModels, ResolvedStep, TaughtStep
from harness.config.steps.shorten import ResolvedShorten
from harness.config.values import Count, Share, refusal
from harness.units import format_count


class Tune(TaughtStep):
    """Distil the student on each task from an earlier model fine-tuned on it; the last step of a recipe.

    The scale says how long and how fast, as for every other model that is fine-tuned. `start: tuned` begins
    with the layers, embeddings and head of the fine-tuned model in place of the student's own. `method: sft`
    trains all weights, and then again the head and the `density` of the other weights that had moved most.
    With `text` the fine-tuned model labels so many lines of the corpus, from which the student learns before
    it learns from the task's own examples (Mukherjee and Awadallah 2020). `teachers: all` takes the mean of
    the logits of the model fine-tuned with each seed, `first` the logits of the first seed's. With either the
    teacher may have another vocabulary.
    """

    kind = "tune"
    trains = True
    makes_encoder = False
    known_losses = TASK_LOSSES
    loss_example = "{labels: 0.5, class_kl: 0.5}"
    other_tokens = "tune before trim, or trim both, or add teachers: all, whose logits are compared"

    start: Literal["student", "tuned"] = "student"
    method: Literal["full", "sft"] = "full"
    density: Share | None = None
    text: Count | None = None
    teachers: Literal["first", "all"] = "first"

    @model_validator(mode="after")
    def _check(self) -> Tune:
        if (self.method == "sft") != (self.density is not None):
            raise refusal("method: sft and density go together, as density: 0.08; add or remove one")
        if set(self.loss) == {"labels"} and self.start == "student":
            raise refusal(
                "expected a loss that looks at the teacher; labels alone is how every student learns a task"
            )
        self._check_stored_logits()
        return self

    def _check_stored_logits(self) -> None:
        """Check that a step whose teachers' logits are stored asks for nothing else of them."""
        asked = "text" if self.text is not None else "teachers: all" if self.teachers == "all" else None
        if asked is None:
            return
        able = [name for name, loss in TASK_LOSSES.items() if loss.looks_at in ("labels", "classes")]
        unable = [name for name in self.loss if name not in able]
        if unable:
            raise refusal(
                f"{asked} goes with losses of labels and logits ({', '.join(able)}); got {unable[0]}; "
                "remove one"
            )
        if self.start != "student" or self.method != "full":
            raise refusal(f"{asked} goes with start: student and method: full; remove one")

    @property
    def reads_same_tokens(self) -> bool:
        """Whether the teacher reads the student's tokens; stored logits are of texts and words."""
        return self.text is None and self.teachers == "first"

    def resolve(self, models: EarlierModels, amounts: Amounts) -> ResolvedTune:
        """Return the step with the teacher's layers that the student begins with."""
        del amounts
        names = {"teacher", "loss", "temperature", "layers", "method", "density", "text", "teachers"}
        kept_layers = self._find_kept_layers(models) if self.start == "tuned" else None
        return ResolvedTune(**self.model_dump(include=names), kept_layers=kept_layers)

    def _find_kept_layers(self, models: EarlierModels) -> tuple[int, ...]:
        steps = [planned.step for planned in models.steps]
        if self.teacher == TEACHER and len(steps) == 1 and isinstance(steps[0], ResolvedShorten):
            if steps[0].number is not None:
                raise refusal(
                    "start: tuned takes layers that are known beforehand; expected shorten without "
                    "keep: influence; got it; change one of the two"
                )
            return steps[0].layers
        earlier = ", ".join(planned.id for planned in models.steps)
        raise refusal(
            "start: tuned takes layers of the fine-tuned teacher; expected one shorten before it and "
            f"teacher: {TEACHER}; got {earlier}, and {self.teacher}; "
            "take start: student, or leave the other steps out"
        )


class ResolvedTune(ResolvedStep):
    """The teacher, the weighted losses with their settings, and the weights that are trained.

    `kept_layers` are the fine-tuned teacher's layers that the student begins with; None: the student's own.
    Teacher and method reach the key of the stage `score` as its input and in its protocol.
    """

    kind = Tune.kind
    outside_config = frozenset({"teacher", "method", "density"})
    teacher: str
    loss: dict[str, float]
    temperature: float | None = None
    layers: LayerMap | None = None
    kept_layers: tuple[int, ...] | None = None
    method: Literal["full", "sft"]
    density: float | None = None
    text: int | None = None
    teachers: Literal["first", "all"] = "first"

    def describe(self) -> str:
        """Return the teacher, the losses and the student's first weights in words."""
        start = ", begun as its layers" if self.kept_layers is not None else ""
        sparse = f", {self.density:g} of the weights" if self.density is not None else ""
        of_all = ", all seeds" if self.teachers == "all" else ""
        text = f", first on {format_count(self.text)} lines that it labels" if self.text is not None else ""
        losses = describe_weights(self.loss)
        return f"each task from {self.teacher} tuned on it{of_all}: {losses}{start}{sparse}{text}"
