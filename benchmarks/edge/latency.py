"""Time students of the papers' shapes against mBERT's shape in fp32: the edge targets, in one run.

    python -m benchmarks.edge --record benchmarks/records          # the committed record; on a quiet machine
    python -m benchmarks.edge --quick                              # a minute or two: does it work?

Random weights. Every file is checked against torch first. All forms are timed in the same rounds at one row
of 128 tokens on one thread; a speed-up is a ratio of medians within them, with its bootstrap interval, and a
target is met where the whole interval lies at or above it. Then the fastest of each at other lengths, on all
threads, and in batches of 32; then each file in a process of its own on one core with 512 MiB. OpenVINO and
CTranslate2 are timed where they are installed (``pip install openvino ctranslate2``), else listed as absent.
"""

from __future__ import annotations

import gzip
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from benchmarks.common.programs import make_parser
from benchmarks.common.recording import describe_environment, write_record
from benchmarks.edge import device, runtimes
from benchmarks.edge.runtimes import OURS, Setting, Variant
from benchmarks.edge.shapes import STUDENTS, TEACHER, TEACHER_NAME
from benchmarks.edge.tables import draw_tables
from harness.measure.latency import Samples, interleave, ratio

MAIN = Setting(1, 128, 1)
Row = dict[str, Any]


def make_variants(root: Path) -> tuple[list[Variant], dict[str, str]]:
    """Return the variants that are timed, and the absent ones with the reason."""
    (root / "teacher").mkdir()
    made = runtimes.export_teacher(TEACHER_NAME, TEACHER, root / "teacher", MAIN.length)
    absent = {}
    for place, (name, (shape, _)) in enumerate(STUDENTS.items()):
        folder = root / str(place)
        folder.mkdir()
        made += runtimes.export_student(name, shape, folder, MAIN.length)
        peers: dict[str, Callable[[], list[Variant]]] = {
            "openvino": lambda: runtimes.prepare_openvino(name, folder, shape.vocabulary),  # noqa: B023
            "ctranslate2": lambda: runtimes.prepare_ctranslate2(name, shape, folder),  # noqa: B023
        }
        for peer, make in peers.items():
            try:
                made += make()
            except Exception as error:  # any error of a peer is the reason why it is absent
                absent[f"{peer}, {name}"] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return made, absent


def time_variants(
    made: Sequence[Variant], setting: Setting, *, budget_s: float, min_rounds: int
) -> list[Row]:
    """Time variants in the same rounds, and return a row each, compared with the teacher's fastest."""
    calls = {
        str(place): runtimes.move_to_own_thread(one.runtime, one.prepare(setting))
        for place, one in enumerate(made)
    }
    timed = interleave(calls, warmup_s=0.5, budget_s=budget_s, min_rounds=min_rounds)
    samples = [timed[name] for name in calls]
    whole = [taken for one, taken in zip(made, samples, strict=True) if one.model == TEACHER_NAME]
    base = min(whole, key=lambda taken: taken.median_ms)
    return [_make_row(one, setting, taken, base) for one, taken in zip(made, samples, strict=True)]


def _make_row(one: Variant, setting: Setting, taken: Samples, base: Samples) -> Row:
    speed = ratio(base, taken)
    return {
        "model": one.model,
        "runtime": one.runtime,
        "precision": one.precision,
        "form": one.form,
        **setting._asdict(),
        "size_bytes": one.path.stat().st_size if one.path else None,
        "max_abs_delta": one.max_abs_delta,
        "p50_ms": taken.percentile_ms(50),
        "p90_ms": taken.percentile_ms(90),
        "p99_ms": taken.percentile_ms(99),
        "rows_per_s": 1e3 * setting.batch_size / taken.median_ms,
        "speed_ratio": (speed.value, speed.low, speed.high),
        "samples_ms": tuple(round(duration / 1e6, 4) for duration in taken.durations_ns),
    }


def keep_fastest(made: Sequence[Variant], rows: Sequence[Row]) -> list[Variant]:
    """Return the fastest form of each model, runtime and precision."""
    best: dict[tuple[str, str, str], tuple[float, Variant]] = {}
    for one, row in zip(made, rows, strict=True):
        key = (one.model, one.runtime, one.precision)
        if key not in best or row["p50_ms"] < best[key][0]:
            best[key] = (row["p50_ms"], one)
    return [one for _, one in best.values()]


def check_targets(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return for each target whether our fastest int8 file met it, and how it compares with peers."""
    verdicts = []
    for name, (_, target) in STUDENTS.items():
        mine = sorted((row for row in rows if row["model"] == name), key=lambda row: row["p50_ms"])
        ours = next(row for row in mine if row["runtime"] == OURS and row["precision"] == "int8")
        peers = {row["runtime"]: row for row in reversed(mine) if row["runtime"] != OURS}  # the fastest stays
        size_mb = ours["size_bytes"] / 1e6
        verdicts.append(
            {
                "model": name,
                "form": ours["form"],
                "speed_ratio": ours["speed_ratio"],
                "speed_wanted": target.speed,
                "speed_met": ours["speed_ratio"][1] >= target.speed,
                "size_mb": size_mb,
                "size_wanted_mb": target.size_mb,
                "size_met": target.size_mb is None or size_mb <= target.size_mb,
                "times_as_fast_as": {
                    f"{row['runtime']} {row['precision']}": _compare_with_peer(row, ours)
                    for row in peers.values()
                },
            }
        )
    return verdicts


def _compare_with_peer(peer: Row, ours: Row) -> tuple[float, float, float]:
    as_samples = [Samples(tuple(round(1e6 * one) for one in row["samples_ms"])) for row in (peer, ours)]
    speed = ratio(*as_samples)
    return speed.value, speed.low, speed.high


def measure_lengths(tokenizer: Path, text: Path) -> dict[str, int]:
    """Return the median and the 90th percentile of the tokens in a line of a text."""
    made = Tokenizer.from_file(str(tokenizer))
    lines = [line for line in text.read_text(encoding="utf-8").splitlines() if line.strip()]
    counts = [len(made.encode(line).ids) for line in lines]
    return {"median": round(statistics.median(counts)), "p90": round(statistics.quantiles(counts, n=10)[-1])}


def list_settings(lengths: Sequence[int], quick: bool) -> list[Setting]:
    """Return the settings other than the main one."""
    if quick:
        return [Setting(1, 16, 1)]
    cores = len(os.sched_getaffinity(0))
    settings = [Setting(1, length, threads) for threads in dict.fromkeys((1, cores)) for length in lengths]
    return [*(one for one in dict.fromkeys(settings) if one != MAIN), Setting(32, 64, cores)]


def measure_devices(made: Sequence[Variant]) -> list[dict[str, Any]]:
    """Run each of our ONNX files in a process of its own under the limits of a device."""
    vocabulary = {name: shape.vocabulary for name, (shape, _) in STUDENTS.items()}
    vocabulary[TEACHER_NAME] = TEACHER.vocabulary
    return [
        {
            "model": one.model,
            "precision": one.precision,
            "length": MAIN.length,
            **device.measure_under_limits(one.path, MAIN.length, vocabulary[one.model]),
        }
        for one in made
        if one.runtime == OURS and one.path is not None
    ]


def measure_compressed(made: Sequence[Variant]) -> list[dict[str, Any]]:
    """Return the sizes of our files, and their sizes after gzip."""
    return [
        {
            "model": one.model,
            "precision": one.precision,
            "size_bytes": one.path.stat().st_size,
            "gzip_bytes": len(gzip.compress(one.path.read_bytes(), 6)),
        }
        for one in made
        if one.runtime == OURS and one.path is not None and one.model != TEACHER_NAME
    ]


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print tables and write the record."""
    parser = make_parser("benchmarks.edge", __doc__)
    parser.add_argument("--budget-s", type=float, default=150, help="of the main setting; a third of it each")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json of a student, for real lengths")
    parser.add_argument("--text", type=Path, help="text in its language, a sentence a line")
    parser.add_argument("--quick", action="store_true", help="few rounds, two settings")
    parser.add_argument("--record", type=Path, help="folder to write the record to")
    asked = parser.parse_args(given)
    torch.set_num_threads(1)
    real = measure_lengths(asked.tokenizer, asked.text) if asked.tokenizer and asked.text else {}
    budget_s, min_rounds = (5.0, 3) if asked.quick else (asked.budget_s, 20)
    with tempfile.TemporaryDirectory() as scratch:
        made, absent = make_variants(Path(scratch))
        rows = time_variants(made, MAIN, budget_s=budget_s, min_rounds=min_rounds)
        kept, targets = keep_fastest(made, rows), check_targets(rows)
        for setting in list_settings([16, 64, 128, *real.values()], asked.quick):
            rows += time_variants(kept, setting, budget_s=budget_s / 3, min_rounds=max(3, min_rounds // 2))
        numbers: dict[str, list[Row]] = {"targets": targets, "rows": rows}
        numbers |= {"device": measure_devices(kept), "compressed": measure_compressed(kept)}
    lines = draw_tables(numbers, absent)
    print("\n".join(lines))
    if asked.record:
        fixed = {"main": MAIN._asdict(), "weights": "random"}
        record = {"setting": fixed, **numbers, "absent": absent, "real_lengths": real}
        print(write_record(asked.record, "edge", describe_environment("cpu"), record, lines))
    return 0
