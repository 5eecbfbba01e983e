"""Print what runs cost in core-hours and money, computed from the record of what stages took.

    python -m benchmarks.records costs [--price 0.03]

A stage that runs a model on text costs its multiplications times the seconds that one took on one core, and
another stage what stages of its kind took; both are medians of the record by kind of stage. A second of two
threads is two seconds of a core.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common.paths import RECORDS
from benchmarks.common.programs import make_parser
from benchmarks.records.stage_times import BENCHMARK
from harness.config.load import load_recipe, load_scale
from harness.config.scale import Scale
from harness.errors import HarnessError
from harness.json_files import read_json
from harness.plans.estimate import count_bytes, count_work, list_shapes, read_sizes
from harness.plans.run import plan_run

PRICE = 0.03
"""Euros for an hour of a core: an assumption, which --price replaces."""
SIZES = ("compact2026@browser", "compact2026@14m", "compact2026@24m")
LANGUAGES = (200, 2000)
_LANGUAGE = "sw"
"""Has three of the tasks of the scale `laptop` on the hub: ner, topic and sentiment."""
_TRAININGS = ("pretrain", "head", "adapt", "distill")
_HOUR_S = 3600


@dataclass(frozen=True)
class CoreTimes:
    """What stages take on one core, by kind.

    Attributes:
        work_s: seconds for a multiplication, of kinds that run a model on text.
        stage_s: seconds of a stage.
    """

    work_s: Mapping[str, float]
    stage_s: Mapping[str, float]


@dataclass(frozen=True)
class Cost:
    """What runs cost.

    Attributes:
        stages: how many.
        training_h: core-hours of trainings of the encoder.
        scoring_h: core-hours of fine-tunings for scores.
        other_h: core-hours of all other stages.
        alone_h: hours of the stages that measure time, which a grid runs one after the other.
        disk_bytes: of all that they leave.
    """

    stages: int = 0
    training_h: float = 0.0
    scoring_h: float = 0.0
    other_h: float = 0.0
    alone_h: float = 0.0
    disk_bytes: int = 0

    @property
    def hours(self) -> float:
        """All core-hours."""
        return self.training_h + self.scoring_h + self.other_h

    def __mul__(self, number: int) -> Cost:
        return Cost(
            self.stages * number,
            self.training_h * number,
            self.scoring_h * number,
            self.other_h * number,
            self.alone_h * number,
            self.disk_bytes * number,
        )


def read_record(folder: Path) -> list[Mapping[str, Any]]:
    """Return what each stage took, of the one record of it in a folder.

    Raises:
        HarnessError: there is none, or more than one.
    """
    paths = sorted(folder.glob(f"{BENCHMARK}_*.json"))
    if len(paths) != 1:
        raise HarnessError(
            f"costs: expected one record {BENCHMARK}_*.json in '{folder}'; got {len(paths)}; "
            "write it with `python -m benchmarks.records stages`, and remove older ones"
        )
    rows: list[Mapping[str, Any]] = read_json(paths[0])["stages"]
    return rows


def measure_core_times(rows: Iterable[Mapping[str, Any]]) -> CoreTimes:
    """Return the medians of a record, by kind of stage."""
    stages, works = defaultdict(list), defaultdict(list)
    for row in rows:
        core_s = row["wall_s"] * row["threads"]
        stages[row["kind"]].append(core_s)
        if row["work"]:
            works[row["kind"]].append(core_s / row["work"])
    return CoreTimes(*({kind: median(many) for kind, many in one.items()} for one in (works, stages)))


def count_cost(times: CoreTimes, language: str, recipes: Sequence[str], scale: Scale) -> Cost:
    """Return what the runs of some recipes on one language cost; a stage that several have counts once."""
    hours: dict[str, float] = defaultdict(float)
    seen: dict[str, int] = {}
    for recipe in recipes:
        plan = plan_run(language, load_recipe(recipe), scale).plan
        shapes, sizes = list_shapes(plan), read_sizes(plan)
        for stage in plan:
            key = plan.keys[stage.id]
            if key in seen:
                continue
            seen[key] = count_bytes(stage, shapes)
            work = count_work(stage, shapes, sizes)
            known = times.work_s.get(stage.kind)
            seconds = work * known if work and known else times.stage_s.get(stage.kind, 0.0)
            part = "score" if stage.kind == "score" else "train" if stage.kind in _TRAININGS else "other"
            hours[part] += seconds / _HOUR_S
            hours["alone"] += seconds / _HOUR_S if stage.alone else 0.0
    return Cost(
        stages=len(seen),
        training_h=hours["train"],
        scoring_h=hours["score"],
        other_h=hours["other"],
        alone_h=hours["alone"],
        disk_bytes=sum(seen.values()),
    )


def tabulate_times(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table of what stages took."""
    kinds = defaultdict(list)
    for row in rows:
        kinds[row["kind"]].append(row)
    lines = [
        "| stage | measured | core-seconds | tokens/s and core | 10⁹ operations/s and core |",
        "|---|---:|---:|---:|---:|",
    ]
    for kind, own in sorted(kinds.items(), key=lambda pair: -_compute_median(pair[1])):
        speeds = []
        for field, unit in (("tokens", 1.0), ("work", 1e9)):
            known = [one for one in own if one[field]]
            speeds.append(f"{1 / unit / _compute_median(known, field):,.0f}" if known else "–")
        lines.append(f"| {kind} | {len(own)} | {_compute_median(own):,.0f} | {' | '.join(speeds)} |")
    return lines


def _compute_median(rows: Sequence[Mapping[str, Any]], field: str | None = None) -> float:
    """Return the median of a stage's core-seconds, or of its core-seconds for a unit of a field."""
    return float(median(row["wall_s"] * row["threads"] / (row[field] if field else 1) for row in rows))


def tabulate_costs(times: CoreTimes, price: float) -> list[str]:
    """Return the table of what runs cost at a price of a core-hour."""
    laptop, paper = load_scale("laptop"), load_scale("paper")
    topic = laptop.with_tasks(["topic"])
    sizes = {recipe.partition("@")[2]: recipe for recipe in SIZES}
    costs = {
        f"a language, {name}": count_cost(times, _LANGUAGE, [one], laptop) for name, one in sizes.items()
    }
    costs["a language, three sizes"] = count_cost(times, _LANGUAGE, SIZES, laptop)
    costs["a language, three sizes, topic alone"] = count_cost(times, _LANGUAGE, SIZES, topic)
    for number, tasks in product(LANGUAGES, ("", ", topic alone")):
        costs[f"{number:,} languages, three sizes{tasks}"] = costs[f"a language, three sizes{tasks}"] * number
    costs["a language at the paper's budget, gurgurov2025"] = count_cost(
        times, _LANGUAGE, ["gurgurov2025"], paper
    )
    lines = [
        "| runs | stages | trainings, core-hours | scores | other | together | € | alone, hours | disk |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, cost in costs.items():
        numbers = [cost.training_h, cost.scoring_h, cost.other_h, cost.hours]
        numbers += [cost.hours * price, cost.alone_h]
        cells = [f"{one:,.1f}" if one < 100 else f"{one:,.0f}" for one in numbers]
        disk = f"{cost.disk_bytes / 1e9:,.0f} GB"
        lines.append(f"| {name} | {cost.stages:,} | {' | '.join(cells)} | {disk} |")
    return lines


def main(given: Sequence[str] | None = None) -> int:
    """Print the tables; print a fault in one line, with exit code 2."""
    parser = make_parser("benchmarks.records costs", __doc__)
    parser.add_argument("--price", type=float, default=PRICE, help="euros for an hour of a core")
    asked = parser.parse_args(given)
    try:
        rows = read_record(RECORDS)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join((*tabulate_times(rows), "", *tabulate_costs(measure_core_times(rows), asked.price))))
    return 0
