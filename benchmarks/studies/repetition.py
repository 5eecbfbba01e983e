"""Whether the same command gives the same digits twice: ``harness score`` in two fresh run folders.

    python -m benchmarks.studies repetition --model MODEL --lang mt --data DIR [--runs DIR] [--record DIR]

Nothing is shared between the two: each reads the data, fine-tunes every seed and makes every baseline anew.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.programs import make_parser
from benchmarks.common.recording import describe_environment, remove_paths, write_record


def score(words: list[str], runs: Path) -> dict[str, Any]:
    """Gives the ``scores.json`` of one run of the command."""
    subprocess.run([sys.executable, "-m", "harness", "score", *words, "--runs", str(runs)], check=True)
    (path,) = runs.glob("*/score-*/scores.json")
    return remove_paths(json.loads(path.read_text(encoding="utf-8")))


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Gives the places at which two trees of values differ in any digit."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {**one, **other}:
            yield from differences(one.get(name), other.get(name), f"{place}/{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{place}/{number}")
    elif one != other:
        yield f"{place}: {one} and {other}"


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Gives the lines of a table in Markdown, a row a task and model, and under it the signatures."""
    first = next(iter(found["names"]))
    yield f"| Task | Model | Score, % (95 % interval) | ± | By seed | Beside {first} | p, Holm | |"
    yield "| :--- | :--- | ---: | ---: | :--- | ---: | ---: | :--- |"
    for task, metric in found["tasks"].items():
        for model, name in found["names"].items():
            cell = found["scores"][model][task]["metrics"][metric]
            cells = [f"{task} ({metric})", name, _interval(cell | {"value": cell["mean"]})]
            cells += ["–" if cell["std"] is None else f"{100 * cell['std']:.1f}"]
            cells += [" ".join(f"{100 * value:.2f}" for value in cell["values"])]
            yield f"| {' | '.join([*cells, *_beside(found, task, model)])} |"
    yield from ("", "Signatures:", "")
    for scores in found["scores"].values():
        yield from (f"- `{one['signature']}`" for one in scores.values())


def _beside(found: Mapping[str, Any], task: str, model: str) -> list[str]:
    rows = {row["model"]: row for row in found["comparisons"] if row["task"] == task}
    if model not in rows:
        return ["–", "–", "–"]
    row = rows[model]
    return [_interval(row["difference"], "+"), f"{row['p_holm']:.4f}", row["verdict"]]


def _interval(number: Mapping[str, float], sign: str = "") -> str:
    value, low, high = (f"{100 * number[name]:{sign}.1f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def main(given: Sequence[str] | None = None) -> int:
    """Runs the command twice; ends with an error where a digit differs, and writes no record then."""
    parser = make_parser("benchmarks.studies repetition", __doc__)
    defaults = {"lang": "mt", "scale": "small", "tasks": "pos,topic", "seeds": "1,2,3,4,5"}
    for name in ("model", "data"):
        parser.add_argument(f"--{name}", required=True)
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", default=value)
    parser.add_argument("--baselines", help="as of `harness score`")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for the two runs")
    parser.add_argument("--record", type=Path, help="folder to write the record to")
    asked = vars(parser.parse_args(given))
    runs, record = asked.pop("runs"), asked.pop("record")
    options = {name: value for name, value in asked.items() if value is not None}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    first, second = (score(words, runs / name) for name in ("first", "second"))
    apart = list(differences(first, second))
    if apart:
        raise SystemExit(f"repetition: wanted equal digits; {len(apart)} differ: {apart[0]}")
    told = [f"Two runs, {sum(1 for _ in _numbers(first))} numbers, all equal to the last digit.", ""]
    print("\n".join([*told, *lines(first)]))
    if record:
        shown = {name: value for name, value in options.items() if name not in {"model", "data"}}
        about = describe_environment("cpu") | shown
        print(write_record(record, "scores", about, {"found": first}, [*told, *lines(first)]))
    return 0


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _numbers(one)
    elif isinstance(value, int | float):
        yield value
