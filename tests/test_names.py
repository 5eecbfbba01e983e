"""No public class name exists twice; a module name repeats only where its folder makes the meaning plain."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "harness"

REPEATED = {
    "__init__": "each package has one",
    "hub": "reads from the hub what its folder is about: data, or models",
    "table": "the rows of what its folder is about: families, or stages",
}
"""Module names that may repeat, each with the reason why its folder makes the meaning plain."""

OPEN_CLASSES = {
    "Absent", "Choice", "Comparison", "Copy", "Interval", "Judge", "Lesson", "Model", "Parity", "Ratio",
    "Source", "Strict", "Study", "Table",
}  # fmt: skip
OPEN_MODULES = {
    "batches", "corpus", "distillation", "export", "folder", "heads", "hidden_states", "latency",
    "leaderboard", "memory", "mlm_head", "narrow", "precisions", "projection", "results", "score", "scores",
    "study", "tasks", "teacher", "training", "values",
}  # fmt: skip
"""Names whose rooms are still to be done."""


def list_modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def find_repeated(places: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: where for name, where in places.items() if len(where) > 1}


def test_no_public_class_name_exists_twice():
    places = defaultdict(list)
    for path in list_modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path.relative_to(PACKAGE).as_posix())
    repeated = find_repeated(places)
    assert {name: repeated[name] for name in repeated if name not in OPEN_CLASSES} == {}


def test_a_module_name_repeats_only_with_a_reason():
    places = defaultdict(list)
    for path in list_modules():
        places[path.stem].append(path.relative_to(PACKAGE).as_posix())
    repeated = find_repeated(places)
    assert {name: repeated[name] for name in repeated if name not in {*REPEATED, *OPEN_MODULES}} == {}


def test_every_reason_is_still_needed():
    stems = [path.stem for path in list_modules()]
    assert [name for name in REPEATED if stems.count(name) < 2] == []
