"""Which teacher a recipe and a scale mean, and its shape, without opening its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from harness.config.recipe import Recipe
from harness.config.scale import Scale
from harness.config.shape import KNOWN_TEACHERS, KnownTeacher, Shape
from harness.errors import HarnessError


class TeacherSource(NamedTuple):
    """The teacher of a run before it is trained or fetched.

    Attributes:
        shape: as the scale states it, as published, or as the folder's config.json has it.
        published: the pinned model of the hub; None for a teacher that is trained here or lies in a folder.
    """

    shape: Shape
    published: KnownTeacher | None = None


def find_teacher(recipe: Recipe, scale: Scale) -> TeacherSource:
    """Return the teacher that the scale takes: trained here, of the hub, or in a folder.

    Raises:
        HarnessError: the folder or its config.json does not exist, or is not as transformers writes it.
    """
    teacher = scale.teacher
    if teacher.pretrain is not None:
        return TeacherSource(teacher.pretrain.shape)
    if teacher.hub is not None:
        known = KNOWN_TEACHERS[recipe.teacher if teacher.hub == "recipe" else teacher.hub]
        return TeacherSource(known.shape, known)
    return TeacherSource(_read_shape(Path(str(teacher.folder))))


def _read_shape(folder: Path) -> Shape:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        missing = "config.json" if folder.is_dir() else "a folder"
        raise HarnessError(
            f"teacher {folder}: expected {missing}; there is none; name a model's folder"
        ) from None
    except (ValueError, NotADirectoryError):
        raise HarnessError(f"teacher {folder}: config.json is not readable; save the model again") from None
    if not isinstance(config, dict):
        raise HarnessError(f"teacher {folder}: config.json holds no keys and values; save the model again")
    try:
        return Shape.from_transformers(config)
    except HarnessError as error:
        raise type(error)(f"teacher {folder}: {error}") from None
