"""Time trimming XLM-R's 250,002 × 768 to 40,000 tokens with its tokenizer, against the quadratic method.

    python -m benchmarks.surgery trimming [--rounds 5] [--record FOLDER]

The model has XLM-R's embeddings and head, and one layer, as layers are copied unchanged. The quadratic method
is that of public code: it looks every piece up in a *list* of kept pieces, and removes the others one by one;
it is timed at two smaller sizes, and its time at full size is extrapolated by the square. Processor seconds
are given too, since other load on the machine does not change them. Memory is the increase of the peak in a
process that trims once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import XLMRobertaTokenizer

from benchmarks.common.programs import make_parser
from benchmarks.common.recording import describe_environment, write_record
from harness.config.shape import Shape
from harness.measure.memory import peak_memory
from harness.models.loading.checkpoint import Checkpoint, build_model
from harness.models.tokenizers import choose_tokens, count_tokens, trim_vocabulary
from harness.units import format_bytes

FULL, KEPT, HIDDEN = 250_002, 40_000, 768
QUADRATIC = (20_000, 40_000)
"""Pieces of the two sizes at which the quadratic method is timed; a share as large is kept."""

SECONDS_TARGET, BYTES_TARGET = 3.0, 1_500_000_000


def make_pieces(size: int) -> list[tuple[str, float]]:
    """Return made-up pieces, the shorter the likelier, and XLM-R's special ones."""
    specials = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    letters, drawn = "abcdefghijklmnopqrstuvwxyz", np.random.default_rng(0)
    words = dict.fromkeys([*letters, *(f"▁{one}" for one in letters), "▁"])
    while len(words) < size - len(specials) - 1:
        length, start = int(drawn.integers(2, 9)), "▁" if drawn.random() < 0.5 else ""
        words[start + "".join(letters[one] for one in drawn.integers(0, 26, length))] = None
    return [*specials, *((word, -5.0 - len(word)) for word in words), ("<mask>", 0.0)]


def make_model(size: int, hidden: int) -> Checkpoint:
    """Return a model of random weights and its tokenizer."""
    shape = Shape(
        family="xlm-roberta", layers=1, hidden=hidden, heads=12, ffn=4 * hidden, vocabulary=size,
        positions=514, types=1,
    )  # fmt: skip
    return Checkpoint(build_model(shape, seed=0), XLMRobertaTokenizer(vocab=make_pieces(size)))


def choose_ids(made: Checkpoint, size: int) -> Any:
    """Return the ids to keep, by random counts."""
    counts = np.random.default_rng(1).integers(0, 1000, len(made.tokenizer))
    return choose_tokens(counts, size, made.tokenizer)


def time_action(action: Callable[[], object]) -> tuple[float, float]:
    """Return seconds of the clock, and of the processor."""
    clock_s, processor_s = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - clock_s, time.process_time() - processor_s


def keep_quadratic(vocabulary: list[tuple[str, float]], kept: list[str]) -> list[tuple[str, float]]:
    """Return the kept pieces by the method of public code: look up in a list, remove one by one."""
    left = list(vocabulary)
    for piece in vocabulary:
        if piece[0] not in kept:
            left.remove(piece)
    return left


def time_quadratic(size: int) -> tuple[float, float]:
    """Time the quadratic method at a size, and check the pieces that it keeps."""
    vocabulary = make_pieces(size)
    chosen = np.sort(np.random.default_rng(1).permutation(size)[: size * KEPT // FULL])
    kept = [vocabulary[one][0] for one in chosen]
    results: list[list[tuple[str, float]]] = []
    seconds = time_action(lambda: results.append(keep_quadratic(vocabulary, kept)))
    assert [piece for piece, _ in results[0]] == kept, "the quadratic method keeps the same pieces"
    return seconds


def measure_memory() -> dict[str, int | None]:
    """Trim once, and return the bytes of the model, and the increase of the peak."""
    made = make_model(FULL, HIDDEN)
    kept = choose_ids(made, KEPT)
    size_bytes = sum(one.numel() * one.element_size() for one in made.model.parameters())
    with peak_memory() as peak:
        trim_vocabulary(made.model, made.tokenizer, kept)
    return {"model_bytes": size_bytes, "above_bytes": peak.grown_bytes}


def write_text(path: Path, num_bytes: int) -> None:
    """Write lines of twenty made-up words until the file has about this number of bytes."""
    drawn = np.random.default_rng(2)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(letters[one] for one in drawn.integers(0, 26, 5)) for _ in range(5000)]
    lines = (" ".join(words[one] for one in drawn.integers(0, 5000, 20)) for _ in range(8000))
    block = "\n".join(lines) + "\n"
    with path.open("w", encoding="utf-8") as file:
        for _ in range(num_bytes // len(block)):
            file.write(block)


def count_text(num_bytes: int) -> dict[str, float | None]:
    """Count a file's tokens, and return seconds, the increase of the peak, and the reports of progress."""
    tokenizer = make_model(8000, 12).tokenizer
    reports: list[int] = []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "text.txt"
        write_text(path, num_bytes)
        with path.open(encoding="utf-8") as file, peak_memory() as peak:
            clock_s, processor_s = time_action(lambda: count_tokens(tokenizer, file, reports.append))
        size_bytes = path.stat().st_size
    seconds = {"clock_s": clock_s, "processor_s": processor_s}
    return {"bytes": size_bytes, **seconds, "above_bytes": peak.grown_bytes, "times_told": len(reports)}


def measure_in_process(what: str, *more: str) -> dict[str, Any]:
    """Return a measurement of a process of its own."""
    command = [sys.executable, "-m", "benchmarks.surgery", "trimming", "--only", what, *more]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    measurement: dict[str, Any] = json.loads(output.splitlines()[-1])
    return measurement


def time_methods(rounds: int) -> dict[str, Any]:
    """Time both methods, and measure the memory of ours."""
    made = make_model(FULL, HIDDEN)
    kept = choose_ids(made, KEPT)
    ours = [time_action(lambda: trim_vocabulary(made.model, made.tokenizer, kept)) for _ in range(rounds)]
    theirs = {size: time_quadratic(size) for size in QUADRATIC}
    return {"trim_s": ours, "quadratic_s": theirs, "memory": measure_in_process("memory")}


def draw_tables(numbers: dict[str, Any]) -> list[str]:
    """Return the tables, and for each target whether it was reached."""
    clock, processor = (statistics.median(one) for one in zip(*numbers["trim_s"], strict=True))
    lines = ["| method | pieces | kept | clock | processor |", "|---|---:|---:|---:|---:|"]
    lines.append(f"| trim, model and tokenizer | {FULL:,} | {KEPT:,} | {clock:.2f} s | {processor:.2f} s |")
    for size, (clock_s, processor_s) in numbers["quadratic_s"].items():
        share = size * KEPT // FULL
        lines.append(
            f"| quadratic, pieces alone | {size:,} | {share:,} | {clock_s:.2f} s | {processor_s:.2f} s |"
        )
    largest = max(numbers["quadratic_s"])
    whole_s = numbers["quadratic_s"][largest][1] * (FULL / largest) ** 2
    lines += [
        "",
        f"The quadratic method at {FULL:,} pieces, by the square: {whole_s:.0f} processor seconds "
        f"({whole_s / processor:.0f} times as long). Not run at that size.",
        "",
        *(
            f"- time, {kind}: {taken:.2f} s, target ≤ {SECONDS_TARGET:g} s: {_compare(taken, SECONDS_TARGET)}"
            for kind, taken in (("clock", clock), ("processor", processor))
        ),
    ]
    above = numbers["memory"]["above_bytes"]
    if above is not None:
        whole = format_bytes(numbers["memory"]["model_bytes"])
        lines.append(
            f"- memory beyond the model's {whole}: {format_bytes(above)}, "
            f"target ≤ {format_bytes(BYTES_TARGET)}: {_compare(above, BYTES_TARGET)}"
        )
    if "counting" in numbers:
        lines += ["", "| text | clock | processor | increase of the peak | reports of progress |"]
        lines.append("|---:|---:|---:|---:|---:|")
        for one in numbers["counting"]:
            above = "–" if one["above_bytes"] is None else format_bytes(one["above_bytes"])
            seconds = f"{one['clock_s']:.0f} s | {one['processor_s']:.0f} s"
            lines.append(f"| {format_bytes(one['bytes'])} | {seconds} | {above} | {one['times_told']:,} |")
    return lines


def _compare(value: float, most: float) -> str:
    return "reached" if value <= most else "missed"


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser("benchmarks.surgery trimming", __doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--text-bytes", type=int, default=0, help="also count text of this size, and a tenth")
    parser.add_argument("--record", type=Path, help="the folder the record is written to")
    parser.add_argument("--only", choices=("memory", "counting"), help="only measure this, and print JSON")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Time everything, print the tables and write the record."""
    asked = arguments(given)
    if asked.only:
        print(json.dumps(measure_memory() if asked.only == "memory" else count_text(asked.text_bytes)))
        return 0
    numbers = time_methods(asked.rounds)
    if asked.text_bytes:
        sizes = (asked.text_bytes // 10, asked.text_bytes)
        numbers["counting"] = [measure_in_process("counting", "--text-bytes", str(one)) for one in sizes]
    lines = draw_tables(numbers)
    print("\n".join(lines))
    if asked.record:
        print(
            f"written: {write_record(asked.record, 'trimming', describe_environment('cpu'), numbers, lines)}"
        )
    return 0
