"""Which teacher a recipe and a scale mean, and its shape, without opening its weights."""

from __future__ import annotations

import json
from pathlib import Path

from harness.config.recipe import Recipe
from harness.config.scale import Scale
from harness.config.shape import KNOWN_TEACHERS, KnownTeacher, Shape
from harness.errors import HarnessError


def find_known_teacher(recipe: Recipe, scale: Scale) -> KnownTeacher | None:
    """Gives the published teacher, pinned, where the scale takes one: its own choice or the recipe's."""
    hub = scale.teacher.hub
    return KNOWN_TEACHERS[recipe.teacher if hub == "recipe" else hub] if hub else None


def find_shape(recipe: Recipe, scale: Scale) -> Shape:
    """Gives the teacher's shape: as the scale states it, as published, or as its folder's config.json has it.

    Raises:
        HarnessError: the folder or its config.json is not there, or not as transformers writes it.
    """
    if scale.teacher.pretrain:
        return scale.teacher.pretrain.shape
    known = find_known_teacher(recipe, scale)
    return known.shape if known else _read_shape(Path(str(scale.teacher.folder)))


def _read_shape(folder: Path) -> Shape:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        expected = "config.json" if folder.is_dir() else "a folder"
        raise HarnessError(
            f"teacher {folder}: expected {expected}; there is none; name a model's folder"
        ) from None
    except (ValueError, NotADirectoryError):
        raise HarnessError(f"teacher {folder}: config.json is not readable; save the model again") from None
    if not isinstance(config, dict):
        raise HarnessError(f"teacher {folder}: config.json holds no keys and values; save the model again")
    try:
        return Shape.from_transformers(config)
    except HarnessError as error:
        raise type(error)(f"teacher {folder}: {error}") from None
