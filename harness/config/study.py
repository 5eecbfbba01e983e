"""Studies: variants of a recipe, or several recipes, compared on equal terms.

The studies that ship are files in ``studies/``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, model_validator

from harness.config.digest import digest
from harness.config.load import ROOT, list_recipes, load_recipe, read_checked, vary
from harness.config.recipe import Recipe
from harness.config.values import Strict, describe_unknown, quote_value, refusal
from harness.config.yaml_file import parse_yaml
from harness.errors import HarnessError, UsageError

_DIGEST_LENGTH = 6
AS_WRITTEN = "as written"
"""The name of the recipe itself among its variants."""


class Study(Strict):
    """A question, the variants of a recipe that answer it, and what the papers answered.

    `vary` has values of some fields, of which every combination is tried; `variants` has names and changes.
    All are compared with the recipe as written or, where `reference` names a variant, with that variant.
    """

    name: str
    source: str
    question: str
    paper: str
    recipe: str
    vary: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)
    reference: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Study:
        if bool(self.vary) == bool(self.variants):
            raise refusal("expected vary or variants, one of the two")
        if self.reference is not None and self.reference not in self.variants:
            raise refusal(describe_unknown("variant", self.reference, self.variants))
        for name, values in self.vary.items():
            if not values:
                raise refusal(f"vary.{name}: expected values, as [1, 2]; got none")
        return self

    @property
    def reference_id(self) -> str:
        """The id of the entry that the others are compared with."""
        if self.reference is None:
            return slugify(AS_WRITTEN)
        return dict(zip(self.variants, make_ids(self.variants), strict=True))[self.reference]


@dataclass(frozen=True)
class Entry:
    """A recipe that takes part in a study.

    Attributes:
        id: its name in stages.
        name: its name in tables.
        recipe: with the changes in place.
        changes: what was varied, ``step.key: value``; it replaces the scale's.
    """

    id: str
    name: str
    recipe: Recipe
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entries:
    """The recipes that can take part, and a line for each that cannot."""

    entries: tuple[Entry, ...]
    refusals: tuple[str, ...]


def list_studies() -> list[str]:
    """Return the names of the studies that ship, sorted."""
    return sorted(path.stem for path in (ROOT / "studies").glob("*.yaml"))


def load_study(name: str) -> Study:
    """Read a study that ships, or a study file.

    Raises:
        UsageError: there is no such study, or the file is wrong.
    """
    return read_checked("study", name, list_studies(), Study, "studies")


def build_study(recipe: str, varied: Sequence[str]) -> Study:
    """Return the study that ``--vary step.field=a,b,c`` asks for; each value is read as YAML.

    Raises:
        UsageError: no field or no value is named, or one is given twice.
    """
    fields: dict[str, tuple[Any, ...]] = {}
    for text in varied:
        target, equals, values = text.partition("=")
        if not equals or "." not in target or not values.strip():
            raise UsageError(
                f"--vary: expected step.field=a,b,c, as distill.temperature=1,2,4; got {quote_value(text)}"
            )
        if target in fields:
            raise UsageError(f"--vary: {target} is given twice; name all its values at once")
        fields[target] = _read_values(target, values)
    name = "-".join([slugify(recipe), *map(slugify, fields)])
    question = f"What does {' and '.join(fields)} change?"
    return Study(name=name, source="asked for here", question=question, paper="–", recipe=recipe, vary=fields)


def _read_values(target: str, text: str) -> tuple[Any, ...]:
    try:
        values = parse_yaml(f"[{text}]", f"--vary {target}")
    except UsageError:
        raise UsageError(
            f"--vary {target}: expected values as a, b or [0, 2] or {{mlm: 1}}; got {quote_value(text)}"
        ) from None
    texts = [str(value) for value in values]
    if len(set(texts)) != len(texts):
        raise UsageError(f"--vary {target}: a value is given twice in {quote_value(text)}; name each once")
    return tuple(values)


def build_entries(study: Study) -> Entries:
    """Return the variants of a study, after the recipe as written where that is the reference.

    Raises:
        UsageError: there is no such recipe.
    """
    base = load_recipe(study.recipe)
    variants = _list_variants(study)
    if study.reference is None:
        variants = [(AS_WRITTEN, {}), *variants]
    entries: list[Entry] = []
    refusals: list[str] = []
    for id_, (name, changes) in zip(make_ids([name for name, _ in variants]), variants, strict=True):
        try:
            recipe = vary(name, base, changes)
        except HarnessError as error:
            refusals.append(str(error))
            continue
        entries.append(Entry(id_, name, recipe, changes))
    return Entries(tuple(entries), tuple(refusals))


def _list_variants(study: Study) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and the changes of each variant."""
    if study.variants:
        return [(name, dict(changes)) for name, changes in study.variants.items()]
    combined = itertools.product(*study.vary.values())
    rows = [dict(zip(study.vary, values, strict=True)) for values in combined]
    names = [", ".join(f"{key} = {_format_value(value)}" for key, value in row.items()) for row in rows]
    return list(zip(names, rows, strict=True))


def _format_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return " + ".join(f"{weight}·{name}" for name, weight in value.items())
    return str(value)


def load_entries(names: Sequence[str]) -> Entries:
    """Read recipes, each as it is written; without names, all recipes that ship."""
    chosen = list(names) or list_recipes()
    recipes: list[Recipe] = []
    refusals: list[str] = []
    for name in chosen:
        try:
            recipe = load_recipe(name)
        except HarnessError as error:
            refusals.append(str(error))
            continue
        if any(other.name == recipe.name for other in recipes):
            refusals.append(f"{recipe.name}: is given twice; name it once")
        else:
            recipes.append(recipe)
    ids = make_ids([recipe.name for recipe in recipes])
    entries = (Entry(id_, recipe.name, recipe) for id_, recipe in zip(ids, recipes, strict=True))
    return Entries(tuple(entries), tuple(refusals))


def make_ids(names: Iterable[str]) -> list[str]:
    """Return each name as part of a stage's id; a number makes equal ids different."""
    ids: list[str] = []
    for name in names:
        slug = slugify(name)
        numbered = (f"{slug}_{number}" for number in itertools.count(2))
        ids.append(next(known for known in itertools.chain([slug], numbered) if known not in ids))
    return ids


def slugify(text: str) -> str:
    """Return a text in lower-case ASCII letters, digits and underscores; other letters add a digest."""
    plain = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    if any(letter.isalnum() and not letter.isascii() for letter in text):
        return "_".join(filter(None, (plain, digest(text)[:_DIGEST_LENGTH])))
    return plain or "it"
