"""Commands on recipes: list, show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.api.options import choose_teacher, rename_recipe
from harness.cli.app import (
    AsJson,
    Commands,
    ScaleName,
    app,
    hint,
    out,
    print_json,
)
from harness.cli.watch import print_recipe
from harness.config.load import list_recipes, list_scales, load_recipe, load_scale
from harness.config.recipe import Recipe
from harness.config.scale import Scale
from harness.config.shape import KNOWN_TEACHERS, Shape
from harness.config.show import show, to_yaml
from harness.config.teacher import find_teacher
from harness.errors import unknown

recipe_app = typer.Typer(cls=Commands, help="The published systems, each a list of steps.")
app.add_typer(recipe_app, name="recipe")


@recipe_app.command("list")
def recipe_list() -> None:
    """List the recipes and scales that ship."""
    for name in list_recipes():
        chosen = load_recipe(name)
        variants = "".join(f" @{variant}" for variant in chosen.variants)
        out.print(f"{name}{variants}  –  {chosen.source}", soft_wrap=True, markup=False)
    out.print(f"scales: {', '.join(list_scales())}")


@recipe_app.command("show")
def recipe_show(
    name: Annotated[str, typer.Argument(help="a recipe's name, NAME@VARIANT, or a YAML file")],
    teacher: Annotated[
        str | None,
        typer.Option(help="mbert, xlmr, e5-small, a model's folder or hub id; default: the recipe's"),
    ] = None,
    scale: ScaleName = "paper",
    yaml: Annotated[bool, typer.Option("--yaml", help="print the file, to be saved and edited")] = False,
    as_json: AsJson = False,
) -> None:
    """Print a recipe's steps with the parameters after each, counted from the config alone."""
    chosen, amount = load_recipe(rename_recipe(name, hint)), load_scale(scale)
    shape = _find_shape(teacher, chosen, amount)
    rows = show(chosen, shape, amount)
    if as_json:
        steps = [{**vars(row), "shape": row.shape.model_dump()} for row in rows]
        print_json({"recipe": chosen.name, "source": chosen.source, "scale": amount.name, "steps": steps})
    elif yaml:
        out.print(to_yaml(chosen, rows), markup=False, soft_wrap=True, end="")
    else:
        print_recipe(chosen, rows)


def _find_shape(teacher: str | None, recipe: Recipe, scale: Scale) -> Shape:
    if teacher is None:
        return find_teacher(recipe, scale).shape
    if teacher in KNOWN_TEACHERS:
        return KNOWN_TEACHERS[teacher].shape
    if not Path(teacher).is_dir() and "/" not in teacher:
        raise unknown("teacher", teacher, (*KNOWN_TEACHERS, "a model's folder", "a hub id ORG/NAME"))
    return find_teacher(recipe, choose_teacher(scale, teacher)).shape
