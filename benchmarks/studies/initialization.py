"""Does it help if heads look at neighbouring tokens from the start? Train teachers with and without.

    python -m benchmarks.studies initialization --runs FOLDER [--seeds 1,2,3] [--lang mt] [--record FOLDER]

The scale mini, its seed varied, as it is and without ``attention: neighbours``; all else is equal. The table
shows the loss at the end of training and the scores of fine-tuning, with and without on the same items.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from benchmarks.common.programs import make_parser
from benchmarks.common.recording import describe_environment, remove_paths, write_record

WITH, WITHOUT = "neighbours", "plain"
_LAST = 5


def make_scale(seed: int, way: str) -> dict[str, Any]:
    """Return the scale mini with another seed, with or without the heads."""
    scale: dict[str, Any] = yaml.safe_load(files("harness").joinpath("scales/mini.yaml").read_text("utf-8"))
    if way == WITHOUT:
        del scale["teacher"]["pretrain"]["attention"]
    return scale | {"seed": seed}


def train_teacher(runs: Path, seed: int, way: str) -> tuple[Path, dict[str, Any]]:
    """Train a teacher if it is missing, and return its folder and the facts of its stage."""
    place = runs / f"{way}-{seed}"
    place.mkdir(parents=True, exist_ok=True)
    scale = place / "scale.yaml"
    scale.write_text(yaml.safe_dump(make_scale(seed, way)), encoding="utf-8")
    if not (place / "teacher").exists():
        where = ["--runs", str(place / "runs"), "--out", str(place / "teacher")]
        _run_harness("pretrain", "--scale", str(scale), *where)
    stages = [json.loads(path.read_text("utf-8")) for path in (place / "runs").rglob("manifest.json")]
    return place / "teacher", next(one["facts"] for one in stages if one["kind"] == "pretrain")


def _run_harness(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "harness", *words], check=True)


def measure_seed(runs: Path, seed: int, lang: str, tasks: str) -> dict[str, Any]:
    """Return losses and scores of both teachers of one seed."""
    made = {way: train_teacher(runs, seed, way) for way in (WITH, WITHOUT)}
    scored = runs / f"scores-{seed}"
    models = [word for folder, _ in made.values() for word in ("--model", str(folder))]
    where = ["--lang", lang, "--tasks", tasks, "--baselines", "none", "--runs", str(scored)]
    _run_harness("score", *models, "--scale", str(runs / f"{WITH}-{seed}" / "scale.yaml"), *where)
    (path,) = scored.glob("*/score-*/scores.json")
    scores = remove_paths(json.loads(path.read_text("utf-8")))
    losses = {way: [row["loss"] for row in facts["training"]["losses"]] for way, (_, facts) in made.items()}
    return {"seed": seed, "losses": losses, "scores": scores}


def draw_table(seeds: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a Markdown table, a row a seed and task; a loss is the mean over the last logged losses."""
    yield "| Seed | Loss with | Loss without | Task | With, % | Without, % | Difference, points (95 %) |"
    yield "| ---: | ---: | ---: | :--- | ---: | ---: | ---: |"
    for one in seeds:
        ends = [f"{fmean(one['losses'][way][-_LAST:]):.3f}" for way in (WITH, WITHOUT)]
        scores = one["scores"]
        for row in scores["comparisons"]:
            task, metric = row["task"], scores["tasks"][row["task"]]
            means = [scores["scores"][name][task]["metrics"][metric]["mean"] for name in scores["names"]]
            less = [-100 * row["difference"][name] for name in ("value", "high", "low")]
            difference = f"{less[0]:+.1f} ({less[1]:+.1f} to {less[2]:+.1f})"
            cells = [str(one["seed"]), *ends, task, *(f"{100 * mean:.1f}" for mean in means), difference]
            yield f"| {' | '.join(cells)} |"


def main(given: Sequence[str] | None = None) -> int:
    """Train, score, print the table, and write the record."""
    parser = make_parser("benchmarks.studies initialization", __doc__)
    parser.add_argument("--runs", type=Path, required=True, help="folder that keeps the teachers")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--lang", default="mt")
    parser.add_argument("--tasks", default="pos,topic")
    parser.add_argument("--record", type=Path, help="folder to write the record to")
    asked = parser.parse_args(given)
    seeds = [measure_seed(asked.runs, int(seed), asked.lang, asked.tasks) for seed in asked.seeds.split(",")]
    table = list(draw_table(seeds))
    print("\n".join(table))
    if asked.record:
        about = describe_environment("cpu")
        print(write_record(asked.record, "initialization", about, {"found": seeds}, table))
    return 0
