"""Read a scale and replace the parts of it that options name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.config.load import load_recipe, load_scale, update_name
from harness.config.recipe import Recipe
from harness.config.scale import Scale
from harness.errors import HarnessError
from harness.plans.run import RunPlan, plan_run

DEFAULT_RECIPE = "gurgurov2025"
DEFAULT_RUNS = Path("runs")


@dataclass(frozen=True)
class ScaleOptions:
    """The options that replace parts of a scale; None, and False, leave the scale as it is.

    Attributes:
        data: data folder with the corpus and the tasks.
        teacher: a model's folder, or hub id.
        strict_data: whether labelled data that has to be read otherwise than written is refused.
        tasks: names of the tasks to score, separated by commas.
        score: of the models to score, one of `SCORED_MODELS`.
        seed: of everything that is drawn but the scores.
    """

    data: Path | None = None
    teacher: str | None = None
    strict_data: bool = False
    tasks: str | None = None
    score: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class PlannedRun:
    """A run before it has begun.

    Attributes:
        plan: its stages, steps, models and tasks.
        language: code.
        name: its recipe and scale, as ``gurgurov2025-mini``, and another seed than the scale's.
    """

    plan: RunPlan
    language: str
    name: str

    @property
    def folder(self) -> str:
        """Its folder in the folder of runs."""
        return f"{self.language}/{self.name}"


def plan_chosen_run(
    language: str,
    recipe: str | None,
    scale: str | Path,
    options: ScaleOptions,
    hint: Callable[[str], None] = lambda _: None,
) -> PlannedRun:
    """Return the plan of the run that the options describe.

    Args:
        language: code.
        recipe: name, ``NAME@VARIANT`` or YAML file; None: the scale's.
        scale: name or YAML file.
        options: replace parts of the scale.
        hint: called with a line where a recipe was given by its former name.

    Raises:
        HarnessError: something does not exist or does not fit.
    """
    amount = choose_scale(scale, options)
    chosen = load_recipe(rename_recipe(recipe or amount.recipe or DEFAULT_RECIPE, hint))
    own_seed = amount.seed if options.seed is None else load_scale(scale).seed
    return PlannedRun(plan_run(language, chosen, amount), language, name_run(chosen, amount, own_seed))


def name_run(recipe: Recipe, scale: Scale, own_seed: int) -> str:
    """Return the name of a run, with its seed where that is not the scale's own."""
    seed = "" if scale.seed == own_seed else f"-seed{scale.seed}"
    return f"{recipe.name}-{scale.name}{seed}"


def rename_recipe(name: str, hint: Callable[[str], None] = lambda _: None) -> str:
    """Return the present name of a recipe; call the hint where a former name was given."""
    present = update_name(name)
    if present != name:
        hint(f"the recipe '{name}' is now called {present}; use the new name")
    return present


def choose_scale(name: str | Path, options: ScaleOptions) -> Scale:
    """Load a scale; replace the parts of it that the options name."""
    scale, data, teacher = load_scale(name), options.data, options.teacher
    if options.seed is not None:
        scale = scale.model_copy(update={"seed": options.seed})
    if options.strict_data:
        scale = scale.with_strict_data()
    if data is not None:
        if not data.is_dir():
            raise HarnessError(f"--data {data}: expected a data folder; got none; name one that exists")
        scale = scale.with_data(str(data))
    if options.tasks is not None:
        scale = scale.with_tasks(options.tasks.split(","))
    if options.score is not None:
        scale = scale.with_scored_models(options.score)
    return choose_teacher(scale, teacher)


def choose_teacher(scale: Scale, teacher: str | None) -> Scale:
    """Return a scale with a teacher from a folder or of the hub; None leaves the scale's own."""
    asked = teacher or scale.teacher.hub or ""
    if teacher is not None and Path(teacher).is_dir():
        return scale.with_teacher(teacher)
    if "/" in asked and not Path(asked).is_absolute():
        return _take_from_hub(scale, asked)
    if teacher is not None:
        raise HarnessError(
            f"--teacher {teacher}: expected a saved model's folder, or a hub id as ORG/NAME; got neither; "
            "name a folder that exists"
        )
    return scale


def _take_from_hub(scale: Scale, source: str) -> Scale:
    """Return a scale whose teacher is a model of the hub, at the commit that its revision has now."""
    from harness.models.loading.hub import locate_pinned  # noqa: PLC0415 - planning imports no torch

    origin, folder = locate_pinned(source)
    return scale.with_teacher(str(folder), origin)
