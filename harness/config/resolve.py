"""A recipe, a scale and a teacher's shape make concrete steps; the whole is checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NoReturn

from pydantic_core import PydanticCustomError

from harness.config.losses import check_compatible
from harness.config.recipe import (
    Adapt,
    Blank,
    Distill,
    Narrow,
    Prune,
    Recipe,
    Shorten,
    Step,
    TrainedStep,
    Trim,
    Tune,
    learns_from_scratch,
)
from harness.config.scale import Scale
from harness.config.shape import Shape
from harness.config.values import Ratio, nearest
from harness.errors import UsageError

TEACHER = "teacher"
"""What a distill step calls the model that the recipe starts from."""


@dataclass(frozen=True)
class ResolvedStep:
    """One step with every number stated.

    Attributes:
        id: the kind; the second of a kind is ``distill-2``.
        config: what the stage that runs it reads, and what its key is a digest of.
        shape: the model after the step.
    """

    id: str
    kind: str
    config: dict[str, Any]
    shape: Shape


@dataclass(frozen=True)
class _State:
    """What a step is resolved against; `shapes` holds the models before it, by step id, in order."""

    place: str
    id: str
    teacher: Shape
    shapes: dict[str, Shape]
    scale: Scale
    varied: Collection[str]

    @property
    def now(self) -> Shape:
        return list(self.shapes.values())[-1]

    def own_training(self, step: Step) -> dict[str, float | int]:
        blank = learns_from_scratch(step.kind, getattr(step, "loss", ()), self.shapes)
        told = self.scale.training_for(self.id, step.kind, blank=blank)
        if f"{self.id}.epochs" in self.varied and "tokens" in told:
            self.refuse(
                f"the scale '{self.scale.name}' states the tokens of {self.id}, which replace its epochs; "
                f"vary {self.id}.tokens"
            )
        return {name: value for name, value in told.items() if f"{self.id}.{name}" not in self.varied}

    def refuse(self, reason: str) -> NoReturn:
        raise UsageError(f"{self.place}: {reason}")


_Resolved = tuple[dict[str, Any], Shape]


def resolve(
    recipe: Recipe, scale: Scale, shape: Shape, varied: Collection[str] = ()
) -> tuple[ResolvedStep, ...]:
    """Gives the recipe's steps for a teacher of one shape, at one scale.

    What holds: every ratio is of the *teacher's* number; a step's shape is what its config makes of the shape
    before it; a step that trains leaves the shape as it is.

    Args:
        recipe: the steps.
        scale: whose numbers go before the recipe's.
        shape: of the teacher.
        varied: values of the recipe that go before the scale's, as ``distill-2.learning_rate``.

    Raises:
        UsageError: a step would leave no layer, head, neuron or token, asks for more than there is, names a
            teacher that is no earlier step or does not fit, or lacks a number that neither file states.
    """
    shapes = {TEACHER: shape}
    resolved = []
    for index, (written, step) in enumerate(zip(recipe.steps, _steps(recipe, shape.family), strict=True)):
        state = _State(
            f"{recipe.name}: steps[{index}].{written.kind}", written.id, shape, shapes, scale, varied
        )
        if written.kind == Tune.kind and not 0 < index == len(recipe.steps) - 1:
            state.refuse("wanted it last, after the steps that make the student; move it there")
        config, after = _RESOLVERS[type(step)](step, state)
        resolved.append(ResolvedStep(written.id, written.kind, config, after))
        shapes = shapes | {written.id: after}
    return tuple(resolved)


def _steps(recipe: Recipe, family: str) -> Sequence[Step]:
    try:
        return recipe.steps_for(family)
    except PydanticCustomError as error:
        raise UsageError(f"{recipe.name}: steps: {error.message()}") from None


def _training(step: Step, state: _State, names: Sequence[str]) -> dict[str, Any]:
    """Gives the named numbers, the scale's before the recipe's, and what every training step shares."""
    numbers = {name: getattr(step, name) for name in names} | state.own_training(step)
    if isinstance(step, TrainedStep):
        numbers = step.model_dump(mode="json", include=_EXTRA, exclude_none=True) | numbers
    numbers |= state.scale.memory
    if numbers.get("epochs") is not None and numbers["tokens"] is None:
        del numbers["tokens"]
    else:
        numbers.pop("epochs", None)
    missing = [name for name, value in numbers.items() if value is None]
    if missing:
        names = ", ".join(missing)
        state.refuse(f"neither the recipe nor the scale '{state.scale.name}' states {names}; add it")
    tokens, batch, length = numbers.get("tokens"), numbers["batch_tokens"], state.scale.sequence_length
    if tokens is not None and tokens < batch:
        state.refuse(f"{tokens} tokens are fewer than one batch of {batch}; raise tokens")
    if batch < length:
        state.refuse(f"a batch of {batch} tokens holds no sequence of {length}; raise batch_tokens")
    if length > state.now.max_length:
        most = state.now.max_length
        state.refuse(f"sequence_length {length} is above the {most} the teacher's positions hold; lower it")
    shared = {"sequence_length": length, "precision": state.scale.precision, "seed": state.scale.seed}
    return numbers | shared


_EXTRA = {"dropout", "epochs", "mask_smoothing", "text_fraction", "freeze"}
_SCORING = ("tokens", "batch_tokens", "mask_fraction")
_TRAINING = ("tokens", "learning_rate", "batch_tokens", "mask_fraction", "warmup_fraction")


def _adapt(step: Adapt, state: _State) -> _Resolved:
    return _training(step, state, _TRAINING), state.now


def _teacher(step: Distill | Tune, state: _State) -> Shape:
    """Gives the shape of the earlier model that teaches, which reads the student's tokens."""
    if step.teacher not in state.shapes:
        earlier = ", ".join(state.shapes)
        state.refuse(f"teacher '{step.teacher}' is no earlier step; there are: {earlier}")
    teacher = state.shapes[step.teacher]
    if teacher.vocabulary != state.now.vocabulary:
        state.refuse(
            f"teacher '{step.teacher}' has {teacher.vocabulary} tokens, the student {state.now.vocabulary}; "
            f"one text would be other tokens to each: {step.kind} before trim, or trim both"
        )
    return teacher


def _distill(step: Distill, state: _State) -> _Resolved:
    teacher, student = _teacher(step, state), state.now
    reason = check_compatible(step.loss, step.loss_settings, student, teacher)
    if reason is not None:
        state.refuse(f"teacher '{step.teacher}': {reason}")
    config: dict[str, Any] = {"teacher": step.teacher, "loss": dict(step.loss), "positions": step.positions}
    for name in ("temperature", "layers", "projection", "relation_split"):
        if getattr(step, name) is not None:
            config[name] = getattr(step, name)
    return config | _training(step, state, _TRAINING), student


def _shorten(step: Shorten, state: _State) -> _Resolved:
    now = state.now.layers
    number = nearest(step.layers.times(state.teacher.layers))
    if number < 1:
        state.refuse(f"layers {step.layers} of {state.teacher.layers} leaves no layer; keep more")
    if number > now:
        state.refuse(f"layers {step.layers} keeps {number}; the model has {now} by now; keep fewer")
    layers = _kept_layers(step.keep, number, now, state)
    return {"layers": layers}, state.now.model_copy(update={"layers": number})


def _blank(step: Blank, state: _State) -> _Resolved:
    whole = state.teacher
    layers, ffn = nearest(step.layers.times(whole.layers)), nearest(step.ffn.times(whole.ffn))
    hidden = whole.heads * nearest(step.width.times(whole.hidden) / whole.heads)
    for name, number, share in (
        ("layer", layers, step.layers),
        ("neuron", ffn, step.ffn),
        ("head", hidden, step.width),
    ):
        if number < 1:
            state.refuse(f"{share} leaves no {name}; take more")
    if step.embeddings == "copied" and hidden != state.now.hidden:
        state.refuse(
            f"embeddings of {state.now.hidden} cannot be copied into a width of {hidden}; take random ones"
        )
    shape = state.now.model_copy(
        update={"layers": layers, "hidden": hidden, "ffn": ffn, "heads": whole.heads}
    )
    config = {"shape": shape.model_dump(), "embeddings": step.embeddings, "seed": state.scale.seed}
    return config, shape


def _kept_layers(keep: str | tuple[int, ...], number: int, now: int, state: _State) -> list[int]:
    """Gives the indices of the kept layers, rising; strided starts at layer 0 (0, 2, 4, … for half)."""
    if isinstance(keep, str):
        ways = {
            "first": range(number),
            "last": range(now - number, now),
            "strided": [index * now // number for index in range(number)],
            "strided-last": [(index + 1) * now // number - 1 for index in range(number)],
            "spread": [nearest(Fraction(index * (now - 1), max(1, number - 1))) for index in range(number)],
        }
        return list(ways[keep])
    if len(keep) != number:
        state.refuse(f"keep lists {len(keep)} layers, the ratio keeps {number}; make them agree")
    if list(keep) != sorted(set(keep)) or keep[0] < 0 or keep[-1] >= now:
        state.refuse(f"keep {list(keep)} is not a rising list of layers from 0 to {now - 1}; mend it")
    return list(keep)


def _prune(step: Prune, state: _State) -> _Resolved:
    width = nearest(step.width.times(state.teacher.ffn))
    if width < 1:
        state.refuse(f"width {step.width} of {state.teacher.ffn} leaves no FFN neuron; keep more")
    if width > state.now.ffn:
        state.refuse(f"width {step.width} keeps {width}; the FFN is {state.now.ffn} wide by now; keep fewer")
    config: dict[str, Any] = {"ffn": width, "score": step.score, "rounds": step.rounds}
    if step.score != "magnitude":
        config |= _training(step, state, _SCORING)
    return config, state.now.model_copy(update={"ffn": width})


def _narrow(step: Narrow, state: _State) -> _Resolved:
    now = state.now
    wanted = step.width.times(state.teacher.hidden)
    unit = now.heads if step.heads == "narrowed" else now.head_size
    hidden = unit * nearest(wanted / unit)
    if hidden < 1:
        state.refuse(f"width {step.width} of {state.teacher.hidden} leaves no head: {_why(step, now)}")
    if hidden > now.hidden:
        state.refuse(f"width {step.width} keeps {hidden}; the model is {now.hidden} wide by now; keep less")
    heads = now.heads if step.heads == "narrowed" else hidden // now.head_size
    config: dict[str, Any] = {"hidden": hidden, "heads": heads, "basis": step.basis, "heads_mode": step.heads}
    if step.part == "svd" or step.reads_text:
        config |= {"within": step.part, "refit": step.fits}
    if step.reads_text:
        config |= _training(step, state, _SCORING)
    return config, now.model_copy(update={"hidden": hidden, "heads": heads})


def _why(step: Narrow, now: Shape) -> str:
    if step.heads == "narrowed":
        return f"each of its {now.heads} heads needs a width of one or more; keep more"
    return f"one of its heads is {now.head_size} wide; keep more"


def _trim(step: Trim, state: _State) -> _Resolved:
    tokens, whole, now = step.tokens, state.teacher.vocabulary, state.now.vocabulary
    number = nearest(tokens.times(whole)) if isinstance(tokens, Ratio) else tokens
    if number < 1:
        state.refuse(f"tokens {tokens} of {whole} leaves no token; keep more")
    if number > now:
        state.refuse(f"tokens {tokens} keeps {number}; the vocabulary is {now} by now; keep fewer")
    return {"vocabulary": number}, state.now.model_copy(update={"vocabulary": number})


def _tune(step: Tune, state: _State) -> _Resolved:
    teacher, student = _teacher(step, state), state.now
    reason = check_compatible(step.loss, step.loss_settings, student, teacher)
    if reason is not None:
        state.refuse(f"teacher '{step.teacher}': {reason}")
    made_by = list(state.shapes)[1:]
    if step.start == "tuned" and (step.teacher, made_by) != (TEACHER, [Shorten.kind]):
        state.refuse(
            "start: tuned takes layers of the fine-tuned teacher; wanted one shorten before it and "
            f"teacher: {TEACHER}; got {', '.join(made_by)}, and {step.teacher}; "
            "take start: student, or leave the other steps out"
        )
    return step.model_dump(mode="json", exclude_none=True), student


_RESOLVERS: dict[type[Step], Callable[[Any, _State], _Resolved]] = {
    Adapt: _adapt,
    Blank: _blank,
    Distill: _distill,
    Shorten: _shorten,
    Prune: _prune,
    Narrow: _narrow,
    Trim: _trim,
    Tune: _tune,
}
