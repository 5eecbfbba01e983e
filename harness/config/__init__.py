"""What is done (recipes) and how much (scales): strict schemas, checked before anything runs."""

from __future__ import annotations

from harness.config.digest import digest
from harness.config.load import list_recipes, list_scales, load_recipe, load_scale
from harness.config.recipe import Recipe
from harness.config.resolve import resolve
from harness.config.scale import Scale
from harness.config.shape import KNOWN_TEACHERS, KnownTeacher, Shape
from harness.config.show import RecipeRow, show, to_yaml
from harness.config.steps.base import TEACHER, PlannedStep
from harness.config.teacher import TeacherSource, find_teacher

__all__ = [
    "KNOWN_TEACHERS",
    "TEACHER",
    "KnownTeacher",
    "PlannedStep",
    "Recipe",
    "RecipeRow",
    "Scale",
    "Shape",
    "TeacherSource",
    "digest",
    "find_teacher",
    "list_recipes",
    "list_scales",
    "load_recipe",
    "load_scale",
    "resolve",
    "show",
    "to_yaml",
]
