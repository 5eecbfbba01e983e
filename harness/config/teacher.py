"""Which teacher a recipe and a scale mean, its shape and its parts, without opening its weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from harness.config.recipe import Recipe
from harness.config.scale import Scale
from harness.config.shape import KNOWN_TEACHERS, KnownTeacher, Shape
from harness.errors import HarnessError
from harness.families import FAMILIES

INDEX = "model.safetensors.index.json"
LARGEST_HEADER_BYTES = 100_000_000
"""The largest header that safetensors itself reads."""


class TeacherSource(NamedTuple):
    """The teacher of a run before it is trained or fetched.

    Attributes:
        shape: as the scale states it, as published, or as the folder's files have it; with as many tokens as
            the tokenizer has, since rows beyond them are dropped on loading.
        published: the pinned model of the hub; None for a teacher that is trained here or lies in a folder.
        mlm_head: whether the checkpoint has a masked-language head; where not, a head is fitted here.
    """

    shape: Shape
    published: KnownTeacher | None = None
    mlm_head: bool = True


def find_teacher(recipe: Recipe, scale: Scale) -> TeacherSource:
    """Return the teacher that the scale takes: trained here, of the hub, or in a folder.

    Raises:
        HarnessError: the folder or its files do not exist, are not as transformers writes them, or its
            tokenizer has more tokens than its embeddings have rows.
    """
    teacher = scale.teacher
    if teacher.pretrain is not None:
        return TeacherSource(teacher.pretrain.shape)
    if teacher.hub is not None:
        name = recipe.teacher if teacher.hub == "recipe" else teacher.hub
        known = KNOWN_TEACHERS.get(name)
        if known is None:
            raise HarnessError(
                f"teacher {name}: expected its folder in the hub's cache; got a hub id alone; fetch it, and "
                "call the scale's with_teacher"
            )
        return TeacherSource(known.shape, known, known.mlm_head)
    folder = Path(str(teacher.folder))
    shape = _read_shape(folder)
    head = FAMILIES[shape.family].mlm_head_tensor
    return TeacherSource(shape, mlm_head=any(name.endswith(head) for name in _list_tensors(folder)))


def _read_shape(folder: Path) -> Shape:
    if not folder.is_dir():
        raise HarnessError(f"teacher {folder}: expected a folder; there is none; name a model's folder")
    if not (folder / "config.json").is_file():
        raise HarnessError(f"teacher {folder}: expected config.json; there is none; name a model's folder")
    config = _read_object(folder, "config.json")
    try:
        shape = Shape.from_transformers(config)
    except HarnessError as error:
        raise type(error)(f"teacher {folder}: {error}") from None
    tokens = _count_tokens(folder)
    if tokens is None or tokens == shape.vocabulary:
        return shape
    if tokens > shape.vocabulary:
        raise HarnessError(
            f"teacher {folder}: expected a row of the embeddings for each of the tokenizer's {tokens} "
            f"tokens; got {shape.vocabulary} rows; take the tokenizer that the model was trained with"
        )
    return shape.model_copy(update={"vocabulary": tokens})


def _read_object(folder: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        raise HarnessError(f"teacher {folder}: {name} is not readable; save the model again") from None
    if not isinstance(value, dict):
        raise HarnessError(f"teacher {folder}: {name} holds no keys and values; save the model again")
    return value


def _count_tokens(folder: Path) -> int | None:
    """Count the tokens of ``tokenizer.json`` or of ``vocab.txt``, each once; None without either file."""
    if not (folder / "tokenizer.json").is_file():
        lines = folder / "vocab.txt"
        return len({*lines.read_bytes().rstrip(b"\n").split(b"\n")}) if lines.is_file() else None
    content = _read_object(folder, "tokenizer.json")
    try:
        vocabulary = content["model"]["vocab"]
        tokens = [*vocabulary] if isinstance(vocabulary, dict) else [piece for piece, _ in vocabulary]
        return len({*tokens, *(token["content"] for token in content.get("added_tokens") or ())})
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        raise HarnessError(
            f"teacher {folder}: tokenizer.json has no vocabulary that can be read; save the tokenizer again"
        ) from None


def _list_tensors(folder: Path) -> Iterator[str]:
    """Yield the names of the checkpoint's tensors, from the index or from each file's header.

    A file that cannot be read has no names: the stage that loads the weights refuses it with a reason.
    """
    if (folder / INDEX).is_file():
        names = _read_object(folder, INDEX).get("weight_map")
        yield from names if isinstance(names, dict) else ()
    for path in sorted(folder.glob("*.safetensors")):
        yield from _read_header(path)


def _read_header(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if size <= LARGEST_HEADER_BYTES else {}
    except (ValueError, OSError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}
