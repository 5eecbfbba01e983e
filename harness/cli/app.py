"""The application that the commands are added to, its consoles, and the options that commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from harness.config.load import load_recipe, load_scale, update_name
from harness.config.scale import SCORED_MODELS, Scale
from harness.errors import HarnessError
from harness.plans.run import RunPlan, plan_run

app = typer.Typer(
    name="harness",
    help="Compress a multilingual encoder into a small one-language encoder, and measure what was lost.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Language = Annotated[str, typer.Argument(help="language code, as mt; `harness languages` lists them")]
RecipeName = Annotated[
    str | None,
    typer.Option("--recipe", help="a recipe's name, NAME@VARIANT, or a YAML file; default: the scale's"),
]
ScaleName = Annotated[
    str, typer.Option("--scale", help="how much: mini, small, laptop, paper, or a YAML file")
]
Data = Annotated[Path | None, typer.Option("--data", help="data folder with your own text and tasks")]
StrictData = Annotated[
    bool,
    typer.Option("--strict-data", help="refuse labelled data that has to be read otherwise than written"),
]
Teacher = Annotated[
    str | None,
    typer.Option("--teacher", help="another teacher: a model's folder, or ORG/NAME[@REVISION] of the hub"),
]
TaskNames = Annotated[
    str | None,
    typer.Option("--tasks", help="tasks, as pos,topic; default: all that --data has, or else the scale's"),
]
Scored = Annotated[
    str | None,
    typer.Option(
        "--score",
        help=f"models to score: {', '.join(SCORED_MODELS)}; default: the scale's. final: the teacher, the "
        "trimmed teacher, the student and the baselines",
    ),
]
Runs = Annotated[Path, typer.Option("--runs", help="where runs are kept")]
CheckpointEvery = Annotated[
    float | None,
    typer.Option(
        "--checkpoint-every",
        min=0.0,
        metavar="SECONDS",
        help="seconds between checkpoints; default: 60, or more where they would take over 5 % of the time",
    ),
]

DEFAULT_RECIPE = "gurgurov2025"
DEFAULT_RUNS = Path("runs")
_WIDEST = 400
_NUMBER = 12
"""Cells up to this length, without a space, are not folded."""


def print_table(table: Table, *, keys: int = 1) -> None:
    """Print a table; into a file or a pipe as wide as its cells, so that each row is one line.

    Where a terminal is too narrow, lines between columns are left out and long cells are folded.

    Args:
        table: to print.
        keys: number of leading columns that are never folded.
    """
    console = out if out.is_terminal else Console(file=out.file, highlight=False, width=_WIDEST)
    if console.measure(table, options=console.options.update(width=_WIDEST)).maximum > console.width:
        table.box, table.padding = box.SIMPLE_HEAD, (0, 0)
        for place, column in enumerate(table.columns):
            cells = [str(cell) for cell in column.cells]
            column.no_wrap = place < keys or all(" " not in one and len(one) <= _NUMBER for one in cells)
            column.overflow = "fold"
    console.print(table)


@dataclass(frozen=True)
class ScaleOptions:
    """The options that replace parts of a scale; None, and False, leave the scale as it is.

    Attributes:
        data: data folder with the corpus and the tasks.
        teacher: a model's folder, or hub id.
        strict_data: whether labelled data that has to be read otherwise than written is refused.
        tasks: names of the tasks to score, separated by commas.
        score: of the models to score, one of `SCORED_MODELS`.
    """

    data: Path | None = None
    teacher: str | None = None
    strict_data: bool = False
    tasks: str | None = None
    score: str | None = None


def plan_chosen_run(
    language: str, recipe: str | None, scale: str, options: ScaleOptions
) -> tuple[RunPlan, str]:
    """Return the plan of the run that the options describe, and the run's name."""
    amount = choose_scale(scale, options)
    chosen = load_recipe(rename_recipe(recipe or amount.recipe or DEFAULT_RECIPE))
    return plan_run(language, chosen, amount), f"{chosen.name}-{amount.name}"


def rename_recipe(name: str) -> str:
    """Return the present name of a recipe; print a hint where a former name was given."""
    present = update_name(name)
    if present != name:
        err.print(
            f"the recipe '{name}' is now called {present}; use the new name", markup=False, soft_wrap=True
        )
    return present


def choose_scale(name: str, options: ScaleOptions) -> Scale:
    """Load a scale; replace the parts of it that the options name."""
    scale, data, teacher = load_scale(name), options.data, options.teacher
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
