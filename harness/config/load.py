"""Read recipes and scales from YAML files; each error is a line that names the file and the place in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

import harness
from harness.config.digest import digest
from harness.config.recipe import Recipe, WrittenStep, build_step
from harness.config.scale import Scale
from harness.config.steps import KINDS
from harness.config.values import Strict, describe_unknown, quote_value
from harness.config.yaml_file import read_yaml
from harness.errors import UsageError, unknown
from harness.families import TEACHERS

__all__ = ["check_scale", "digest", "list_recipes", "list_scales", "load_recipe", "load_scale", "vary"]

ROOT = Path(harness.__file__).parent
"""The folder of the recipes, scales and studies that ship."""
RENAMED: Mapping[str, str] = MappingProxyType({"harness": "compact2026"})
"""Former name of a recipe that ships → its present name; a former name is understood for one release."""
_LANGUAGES = ("source_language", "task_language")
_Schema = TypeVar("_Schema", bound=Strict)


def list_recipes() -> list[str]:
    """Return the names of the recipes that ship, sorted."""
    return sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))


def list_scales() -> list[str]:
    """Return the names of the scales that ship, sorted."""
    return sorted(path.stem for path in (ROOT / "scales").glob("*.yaml"))


def load_recipe(name: str | Path) -> Recipe:
    """Read a recipe that ships, or a recipe file, and apply the variant after ``@``.

    Invariants: every value is checked, for every family that the recipe is written for; a recipe with a
    variant applied has no variants left, and its name has the variant's.

    Args:
        name: ``gurgurov2025``, ``gurgurov2025@564``, ``my.yaml`` or ``my.yaml@564``.

    Raises:
        UsageError: there is no such recipe or variant, or the file is wrong.
    """
    base, at, variant = (
        (str(name), "", "") if Path(name).is_file() else _split_variant(update_name(str(name)))
    )
    path = _find("recipe", base, list_recipes(), "recipes")
    document = _read(path)
    steps = _number_steps(path.name, document.pop("steps", None))
    recipe = _build(path.name, Recipe, {"name": path.stem, "steps": steps, **document})
    _check_steps(path.name, recipe.steps)
    for known, changes in recipe.variants.items():
        vary(f"{path.name}: variants.{known}", recipe, changes)
    if not at:
        return recipe
    if variant not in recipe.variants:
        raise unknown(f"variant of {base}", variant, recipe.variants)
    varied = vary(f"{path.name}: variants.{variant}", recipe, recipe.variants[variant])
    return varied.model_copy(update={"name": f"{path.stem}@{variant}", "variants": {}})


def update_name(name: str) -> str:
    """Return the present name of a recipe, with its variant; any name but a former one as it is."""
    base, at, variant = _split_variant(name)
    return f"{RENAMED.get(base, base)}{at}{variant}"


def _split_variant(name: str) -> tuple[str, str, str]:
    """Return file or name, ``@``, and variant; the name of a folder may contain an @ too."""
    base, at, variant = name.rpartition("@")
    return (base, at, variant) if at and "/" not in variant else (name, "", "")


def load_scale(name: str | Path) -> Scale:
    """Read a scale that ships (``mini``) or a scale file (``my-scale.yaml``).

    Raises:
        UsageError: there is no such scale, or the file is wrong.
    """
    return read_checked("scale", str(name), list_scales(), Scale, "scales")


def read_checked(kind: str, name: str, known: list[str], schema: type[_Schema], folder: str) -> _Schema:
    """Read a YAML file by a schema; the name is the file's.

    Raises:
        UsageError: there is no such file, or it is wrong.
    """
    path = _find(kind, name, known, folder)
    return _build(path.name, schema, {"name": path.stem, **_read(path)})


def check_scale(place: str, values: Mapping[str, Any]) -> Scale:
    """Return a scale of values, checked as a file's are; messages name ``place``.

    Raises:
        UsageError: a value is wrong.
    """
    return _build(place, Scale, values)


def _find(kind: str, name: str, known: list[str], folder: str) -> Path:
    if name in known:
        return ROOT / folder / f"{name}.yaml"
    if not name.endswith((".yaml", ".yml")):
        raise unknown(kind, name, known)
    if not Path(name).is_file():
        raise UsageError(
            f"{name}: expected a {kind} file; there is none; name a file, or one of: {', '.join(known)}"
        )
    return Path(name)


def _read(path: Path) -> dict[str, Any]:
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise UsageError(f"{path.name}: expected keys and values; got {quote_value(document)}")
    if "name" in document:
        raise UsageError(f"{path.name}: the key 'name' is no setting: the name is the file's own; remove it")
    return document


def _number_steps(file: str, steps: Any, taken: Iterable[str] = ()) -> tuple[WrittenStep, ...]:
    """Read ``- kind: {values}`` entries; the id of each is the kind, or ``kind-2``, … if that is taken."""
    if not isinstance(steps, list) or not steps:
        raise UsageError(
            f"{file}: steps: expected a list of steps, as '- shorten: {{layers: 6/12, keep: last}}'"
        )
    used = set(taken)
    numbered = []
    for index, entry in enumerate(steps):
        place = f"{file}: steps[{index}]"
        if not isinstance(entry, dict) or len(entry) != 1:
            raise UsageError(
                f"{place}: expected one step, as '- shorten: {{layers: 6/12}}'; got {quote_value(entry)}"
            )
        ((kind, values),) = entry.items()
        if kind not in KINDS:
            raise UsageError(f"{place}: {describe_unknown('step', kind, KINDS)}")
        if not isinstance(values, dict | None):
            raise UsageError(f"{place}.{kind}: expected keys and values; got {quote_value(values)}")
        step_id = next(name for name in _count_up(kind) if name not in used)
        used.add(step_id)
        numbered.append(WrittenStep(id=step_id, kind=kind, values=values or {}))
    return tuple(numbered)


def _count_up(kind: str) -> Iterator[str]:
    return (kind if number == 1 else f"{kind}-{number}" for number in count(1))


def vary(place: str, recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return a recipe with some of its values replaced, checked; its name stays.

    Args:
        place: of the changes, in messages.
        recipe: to be varied.
        changes: ``step.key: value``; ``steps``, a list of the recipe's step ids and of whole steps, for
            another order, for fewer steps, or for more; ``source_language`` and ``task_language``.

    Raises:
        UsageError: a step or key does not exist, or a value is wrong.
    """
    values = {key: value for key, value in changes.items() if key not in _LANGUAGES}
    steps = _vary_steps(place, recipe, values)
    _check_steps(place, steps)
    languages = {key: changes[key] for key in _LANGUAGES if key in changes}
    for key, language in languages.items():
        if not isinstance(language, str | None):
            raise UsageError(f"{place}: {key}: expected a language or null; got {quote_value(language)}")
    return recipe.model_copy(update={"steps": steps, **languages})


def _vary_steps(place: str, recipe: Recipe, changes: Mapping[str, Any]) -> tuple[WrittenStep, ...]:
    """Return the steps in a variant's order, with its ``step.key: value`` entries in place."""
    steps = _reorder_steps(place, recipe.steps, changes["steps"]) if "steps" in changes else recipe.steps
    values = {step.id: dict(step.values) for step in steps}
    for target, value in changes.items():
        step_id, dot, key = target.partition(".")
        if target == "steps":
            continue
        if not dot:
            raise UsageError(f"{place}: expected step.key, as narrow.width; got '{target}'")
        if step_id not in values:
            raise UsageError(f"{place}: {describe_unknown('step', step_id, values)}")
        values[step_id][key] = value
    return tuple(step.model_copy(update={"values": values[step.id]}) for step in steps)


def _reorder_steps(place: str, steps: tuple[WrittenStep, ...], order: Any) -> tuple[WrittenStep, ...]:
    """Return steps in another order; steps written in full get ids that the recipe's steps do not have."""
    known = {step.id: step for step in steps}
    if not isinstance(order, list | tuple) or not order:
        raise UsageError(f"{place}: steps: expected a list, as [trim, shorten]; got {quote_value(order)}")
    chosen: list[WrittenStep] = []
    for entry in order:
        if isinstance(entry, str):
            if entry not in known:
                raise UsageError(f"{place}: steps: {describe_unknown('step', entry, known)}")
            chosen.append(known[entry])
        else:
            (step,) = _number_steps(f"{place}: steps", [entry], {*known, *(step.id for step in chosen)})
            chosen.append(step)
    ids = [step.id for step in chosen]
    twice = next((name for name in ids if ids.count(name) > 1), None)
    if twice:
        raise UsageError(f"{place}: steps: '{twice}' is given twice; write the second one in full")
    return tuple(chosen)


def _check_steps(place: str, steps: tuple[WrittenStep, ...]) -> None:
    """Check every step for every family that the recipe is written for."""
    mappings = [value for step in steps for value in step.values.values() if isinstance(value, Mapping)]
    per_family = [mapping for mapping in mappings if set(mapping) & set(TEACHERS)]
    families = [family for family in TEACHERS if all(family in mapping for mapping in per_family)]
    for family in families or TEACHERS[:1]:
        for index, step in enumerate(steps):
            _check_step(f"{place}: steps[{index}].{step.kind}", step, family)


def _check_step(place: str, step: WrittenStep, family: str) -> None:
    try:
        build_step(step, family)
    except ValidationError as error:
        raise UsageError(_format_error(place, error.errors()[0], ".")) from None
    except PydanticCustomError as error:
        raise UsageError(f"{place}: {error.message()}") from None


def _build(file: str, schema: type[_Schema], document: Mapping[str, Any]) -> _Schema:
    try:
        return schema.model_validate(document)
    except ValidationError as error:
        raise UsageError(_format_error(file, error.errors()[0], ": ")) from None


def _format_error(place: str, error: ErrorDetails, joint: str) -> str:
    """Return an error of pydantic as ``place: what was expected; what came``."""
    location = list(error["loc"])
    missing = location.pop() if error["type"] == "missing" else None
    inner = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    where = f"{place}{joint}{inner}" if inner else place
    got = quote_value(error["input"])
    if missing is not None:
        return f"{where}: lacks the key '{missing}'; add it"
    if error["type"] == "literal_error":
        known = error.get("ctx", {})["expected"].replace(" or ", ", ").replace("'", "")
        return f"{where}: unknown value {got}; there are: {known}"
    if error["type"] == "refused":
        return f"{where}: {error['msg']}"
    return f"{where}: expected {_EXPECTED.get(error['type'], error['msg'])}; got {got}"


_EXPECTED = {
    "dict_type": "keys and values",
    "tuple_type": "a list, as [1, 2]",
    "too_short": "a list with at least one entry",
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
}
