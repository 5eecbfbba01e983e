"""The application the commands are added to, where they print, and the options they share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from harness.config.load import load_recipe, load_scale, update_name
from harness.config.scale import Scale
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
RecipeName = Annotated[str, typer.Option("--recipe", help="a recipe's name, NAME@VARIANT, or a YAML file")]
ScaleName = Annotated[str, typer.Option("--scale", help="how much: mini, small, paper, or a YAML file")]
Data = Annotated[Path | None, typer.Option("--data", help="data folder with your own text and tasks")]
Teacher = Annotated[Path | None, typer.Option("--teacher", help="folder of your own teacher")]
Runs = Annotated[Path, typer.Option("--runs", help="where runs are kept")]

DEFAULT_RECIPE = "gurgurov2025"
DEFAULT_RUNS = Path("runs")
_WIDEST = 400


def print_table(table: Table) -> None:
    """Prints a table: into a file or a pipe as wide as its cells are, so that a line is a row."""
    (out if out.is_terminal else Console(file=out.file, highlight=False, width=_WIDEST)).print(table)


def blueprint_of(
    language: str, recipe: str, scale: str, data: Path | None, teacher: Path | None
) -> tuple[RunPlan, str]:
    """Draws the plan the options ask for; gives it with the run's name."""
    chosen, amount = load_recipe(rename_recipe(recipe)), scale_of(scale, data, teacher)
    return plan_run(language, chosen, amount), f"{chosen.name}-{amount.name}"


def rename_recipe(name: str) -> str:
    """Return the present name of a recipe; print a hint where a former name was given."""
    present = update_name(name)
    if present != name:
        err.print(
            f"the recipe '{name}' is now called {present}; use the new name", markup=False, soft_wrap=True
        )
    return present


def scale_of(name: str, data: Path | None, teacher: Path | None) -> Scale:
    """Loads a scale, with the user's own data folder and teacher put into it."""
    scale = load_scale(name)
    if data is not None:
        if not data.is_dir():
            raise HarnessError(f"--data {data}: expected a data folder; got none; name one that exists")
        scale = scale.with_data(str(data))
    if teacher is not None:
        if not teacher.is_dir():
            raise HarnessError(
                f"--teacher {teacher}: wanted a saved model's folder; got none; name one that exists"
            )
        scale = scale.with_teacher(str(teacher))
    return scale
