"""Time what reads a folder of runs that holds the stages of very many languages.

    python -m benchmarks.grids store [--languages 200 2000] [--record FOLDER]

Each language has the 80 stages of three sizes of a student (`python -m benchmarks.records costs`), in three
runs. Folders of stages are empty but for the first thousand, which have manifests.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.common.programs import make_parser
from benchmarks.common.recording import describe_environment, write_record
from harness.config.load import load_recipe, load_scale
from harness.pipeline.manifest import Manifest
from harness.pipeline.status import status
from harness.pipeline.store import Store, write_manifest
from harness.plans.estimate import estimate_plan
from harness.plans.run import RunPlan, plan_run

STAGES, RUNS = 80, 3
MANIFESTS = 1000
_KINDS = ("distill", "score.topic.tune", "export.topic.student", "linear")


def fill_store(root: Path, languages: int) -> None:
    """Write the folders of the finished stages of so many languages."""
    for number in range(languages * STAGES):
        language, stage = divmod(number, STAGES)
        name = f"{stage % 27 + 1:02d}-{_KINDS[stage % len(_KINDS)]}-{number:012x}"
        folder = root / f"l{language:04d}" / f"recipe{stage % RUNS}-mini" / name
        folder.mkdir(parents=True)
        if number < MANIFESTS:
            write_manifest(folder, _make_manifest(f"{number:012x}"))


def _make_manifest(key: str) -> Manifest:
    return Manifest(
        stage="distill",
        kind="distill",
        version=1,
        key=key,
        config={"tokens": 1000},
        inputs={},
        outputs={},
        seed=None,
        wall_s=9.0,
        resumed=False,
        peak_memory_bytes=None,
        facts={},
        started_at="",
    )


def time_store(root: Path, planned: RunPlan) -> dict[str, float]:
    """Return the seconds of what the commands do with the store."""
    store, plan = Store(root), planned.plan
    rows = status(plan, store)
    calls: dict[str, Callable[[], object]] = {
        "plan a run": lambda: plan_run("mt", load_recipe("gurgurov2025"), load_scale("mini")).plan.keys,
        "state of its stages": lambda: status(plan, store),
        "estimate of its time": lambda: estimate_plan(plan, rows, store),
        "look for one stage": lambda: store.find("0" * 12),
        "lock of one stage": lambda: _take_lock(store),
    }
    return {name: round(_time(call), 4) for name, call in calls.items()}


def _time(call: Callable[[], object]) -> float:
    """Return the processor seconds of a call, which other processes on the machine disturb less."""
    began_s = time.process_time()
    call()
    return time.process_time() - began_s


def _take_lock(store: Store) -> None:
    with store.lock("0" * 12, lambda _: None):
        pass


def main(given: Sequence[str] | None = None) -> int:
    """Print the table, and write the record where asked."""
    parser = make_parser("benchmarks.grids store", __doc__)
    parser.add_argument("--languages", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--record", type=Path, help="folder to write the record to")
    asked = parser.parse_args(given)
    planned = plan_run("mt", load_recipe("gurgurov2025"), load_scale("mini"))
    timed = {}
    for languages in asked.languages:
        with tempfile.TemporaryDirectory() as scratch:
            fill_store(Path(scratch), languages)
            timed[languages] = time_store(Path(scratch), planned)
    header = " | ".join(f"{languages:,} languages" for languages in timed)
    lines = [f"| processor seconds | {header} |", f"|---{'|---:' * len(timed)}|"]
    lines += [f"| folders of stages | {' | '.join(f'{one * STAGES:,}' for one in timed)} |"]
    for name in next(iter(timed.values())):
        lines.append(f"| {name} | {' | '.join(f'{one[name]:.2f}' for one in timed.values())} |")
    print("\n".join(lines))
    if asked.record is not None:
        print(write_record(asked.record, "store", describe_environment("cpu"), {"seconds": timed}, lines))
    return 0
