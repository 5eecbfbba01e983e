"""No public class name exists twice; a module name repeats only where its folder makes the meaning plain."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "harness"

STEP_KIND = "a kind of step: its schema in config/steps, its stage in stages"
COMMAND = "a command in cli, and the stage that it runs"
STAGE = "a stage, and the module whose functions it runs"

STEP_KINDS = {path.stem for path in (PACKAGE / "config" / "steps").glob("[!_]*.py")} & {
    path.stem for path in (PACKAGE / "stages").glob("[!_]*.py")
}
REPEATED = {
    "__init__": "each package has one",
    **dict.fromkeys(sorted(STEP_KINDS), STEP_KIND),
    "export": COMMAND,
    "push": "a command in cli, and what it does in deploy",
    "score": COMMAND,
    "corpus": STAGE,
    "latency": STAGE,
    "leaderboard": STAGE,
    "precisions": STAGE,
    "tasks": STAGE,
    "batches": "rows of a corpus in data, masked batches of them in train",
    "folder": "a data folder in data, a model folder in models/loading",
    "hidden_states": "reading them in models, their loss in train/losses",
    "hub": "data sets in data, models in models",
    "memory": "the peak of a stage in pipeline, of a block of code in measure",
    "mlm_head": "finding the head in families, fitting it in narrowing",
    "projection": "to the vocabulary in ops, between two hidden sizes in train/losses",
    "results": "the schema in report, reading the stages' facts in stages/io",
    "scores": "computing them in measure, reading and writing them in stages/io",
    "study": "the schema in config, its stages in plans",
    "table": "the rows of what its folder is about: families, or stages",
    "teacher": "which one in config, how it is trained in train",
    "values": "of a scale in config, of results.json in report",
    "training": "of a tokenizer, of a language model, of a model in memory in api",
}
"""Module names that may repeat, each with the reason why its folder makes the meaning plain."""


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
    assert repeated == {}


def test_a_module_name_repeats_only_with_a_reason():
    places = defaultdict(list)
    for path in list_modules():
        places[path.stem].append(path.relative_to(PACKAGE).as_posix())
    repeated = find_repeated(places)
    assert {name: repeated[name] for name in repeated if name not in REPEATED} == {}


def test_every_reason_is_still_needed():
    stems = [path.stem for path in list_modules()]
    assert [name for name in REPEATED if stems.count(name) < 2] == []


@pytest.mark.parametrize("folder", ["harness", "benchmarks"])
def test_no_function_is_named_of_something(folder):
    names = []
    for path in (PACKAGE.parent / folder).rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names += [one.name for one in nodes if isinstance(one, ast.FunctionDef) and one.name.endswith("_of")]
    assert names == []
