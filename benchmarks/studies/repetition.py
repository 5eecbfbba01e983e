"""Does the same command lead to the same digits twice? Run ``harness score`` in two fresh run folders.

    python -m benchmarks.studies repetition --model MODEL --lang mt --data DIR [--runs DIR] [--record DIR]

The two share nothing: each reads the data, fine-tunes every seed and makes every baseline.
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


def run_score(words: list[str], runs: Path) -> dict[str, Any]:
    """Run the command, and return its ``scores.json``."""
    subprocess.run([sys.executable, "-m", "harness", "score", *words, "--runs", str(runs)], check=True)
    (path,) = runs.glob("*/score-*/scores.json")
    return remove_paths(json.loads(path.read_text(encoding="utf-8")))


def find_differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Yield the places at which two trees of values differ in any digit."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {**one, **other}:
            yield from find_differences(one.get(name), other.get(name), f"{place}/{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from find_differences(*pair, f"{place}/{number}")
    elif one != other:
        yield f"{place}: {one} and {other}"


def draw_scores(scores: Mapping[str, Any]) -> Iterator[str]:
    """Yield a Markdown table, a row a task and model, and the signatures."""
    first = next(iter(scores["names"]))
    yield f"| Task | Model | Score, % (95 % interval) | ± | By seed | Difference from {first} | p, Holm | |"
    yield "| :--- | :--- | ---: | ---: | :--- | ---: | ---: | :--- |"
    for task, metric in scores["tasks"].items():
        for model, name in scores["names"].items():
            cell = scores["scores"][model][task]["metrics"][metric]
            cells = [f"{task} ({metric})", name, _interval(cell | {"value": cell["mean"]})]
            cells += ["–" if cell["std"] is None else f"{100 * cell['std']:.1f}"]
            cells += [" ".join(f"{100 * value:.2f}" for value in cell["values"])]
            yield f"| {' | '.join([*cells, *_compare_with_first(scores, task, model)])} |"
    yield from ("", "Signatures:", "")
    for by_task in scores["scores"].values():
        yield from (f"- `{one['signature']}`" for one in by_task.values())


def _compare_with_first(scores: Mapping[str, Any], task: str, model: str) -> list[str]:
    rows = {row["model"]: row for row in scores["comparisons"] if row["task"] == task}
    if model not in rows:
        return ["–", "–", "–"]
    row = rows[model]
    return [_interval(row["difference"], "+"), f"{row['p_holm']:.4f}", row["verdict"]]


def _interval(number: Mapping[str, float], sign: str = "") -> str:
    value, low, high = (f"{100 * number[name]:{sign}.1f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def main(given: Sequence[str] | None = None) -> int:
    """Run the command twice; end with an error, and without a record, where a digit differs."""
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
    first, second = (run_score(words, runs / name) for name in ("first", "second"))
    different = list(find_differences(first, second))
    if different:
        raise SystemExit(f"repetition: expected equal digits; {len(different)} differ: {different[0]}")
    text = [f"Two runs, {sum(1 for _ in _numbers(first))} numbers, all equal to the last digit.", ""]
    print("\n".join([*text, *draw_scores(first)]))
    if record:
        shown = {name: value for name, value in options.items() if name not in {"model", "data"}}
        about = describe_environment("cpu") | shown
        print(write_record(record, "scores", about, {"found": first}, [*text, *draw_scores(first)]))
    return 0


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _numbers(one)
    elif isinstance(value, int | float):
        yield value
