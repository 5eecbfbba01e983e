"""Times trimming XLM-R's size, 250,002 × 768, to 40,000 tokens with its tokenizer, beside the quadratic way.

    python -m benchmarks.surgery trimming [--rounds 5] [--record FOLDER]

The model has XLM-R's embeddings and head, and one layer: the layers are copied, whatever their number. The
quadratic method is what public code does: it asks of every piece whether a *list* of kept ones holds it, and
removes the others one by one; it is timed at two smaller sizes, from which its time at full size is told by
the square. Processor seconds stand beside the clock's, as other load on the machine changes only the latter.
Memory is the peak above what stood before, in a process that trims once.
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


def pieces(size: int) -> list[tuple[str, float]]:
    """Gives so many made-up pieces with XLM-R's special ones, the shorter the likelier."""
    specials = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    letters, drawn = "abcdefghijklmnopqrstuvwxyz", np.random.default_rng(0)
    words = dict.fromkeys([*letters, *(f"▁{one}" for one in letters), "▁"])
    while len(words) < size - len(specials) - 1:
        length, start = int(drawn.integers(2, 9)), "▁" if drawn.random() < 0.5 else ""
        words[start + "".join(letters[one] for one in drawn.integers(0, 26, length))] = None
    return [*specials, *((word, -5.0 - len(word)) for word in words), ("<mask>", 0.0)]


def make(size: int, hidden: int) -> Checkpoint:
    """Gives a model of random weights and its tokenizer."""
    shape = Shape(
        family="xlm-roberta", layers=1, hidden=hidden, heads=12, ffn=4 * hidden, vocabulary=size,
        positions=514, types=1,
    )  # fmt: skip
    return Checkpoint(build_model(shape, seed=0), XLMRobertaTokenizer(vocab=pieces(size)))


def kept_ids(made: Checkpoint, size: int) -> Any:
    """Gives ids to keep, as counts that fall at random would."""
    counts = np.random.default_rng(1).integers(0, 1000, len(made.tokenizer))
    return choose_tokens(counts, size, made.tokenizer)


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Gives seconds of the clock, and of the processor."""
    clock_s, processor_s = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - clock_s, time.process_time() - processor_s


def quadratic(vocabulary: list[tuple[str, float]], kept: list[str]) -> list[tuple[str, float]]:
    """Gives the kept pieces as public code finds them: a list is asked, and each other one is removed."""
    left = list(vocabulary)
    for piece in vocabulary:
        if piece[0] not in kept:
            left.remove(piece)
    return left


def time_quadratic(size: int) -> tuple[float, float]:
    """Times it at a size, and checks that it keeps what it should."""
    vocabulary = pieces(size)
    chosen = np.sort(np.random.default_rng(1).permutation(size)[: size * KEPT // FULL])
    kept = [vocabulary[one][0] for one in chosen]
    found: list[list[tuple[str, float]]] = []
    taken = timed(lambda: found.append(quadratic(vocabulary, kept)))
    assert [one[0] for one in found[0]] == kept, "the quadratic method keeps the same pieces"
    return taken


def peak() -> dict[str, int | None]:
    """Trims once; gives the bytes of the model, and the peak above what stood before."""
    made = make(FULL, HIDDEN)
    kept = kept_ids(made, KEPT)
    size_bytes = sum(one.numel() * one.element_size() for one in made.model.parameters())
    with peak_memory() as found:
        trim_vocabulary(made.model, made.tokenizer, kept)
    return {"model_bytes": size_bytes, "above_bytes": found.grown_bytes}


def write_text(path: Path, num_bytes: int) -> None:
    """Writes lines of twenty made-up words until the file has about so many bytes."""
    drawn = np.random.default_rng(2)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(letters[one] for one in drawn.integers(0, 26, 5)) for _ in range(5000)]
    lines = (" ".join(words[one] for one in drawn.integers(0, 5000, 20)) for _ in range(8000))
    block = "\n".join(lines) + "\n"
    with path.open("w", encoding="utf-8") as file:
        for _ in range(num_bytes // len(block)):
            file.write(block)


def count_text(num_bytes: int) -> dict[str, float | None]:
    """Counts the tokens of a file of so many bytes; gives seconds, the peak above before, and times told."""
    tokenizer = make(8000, 12).tokenizer
    told: list[int] = []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "text.txt"
        write_text(path, num_bytes)
        with path.open(encoding="utf-8") as file, peak_memory() as found:
            clock_s, processor_s = timed(lambda: count_tokens(tokenizer, file, told.append))
        size_bytes = path.stat().st_size
    seconds = {"clock_s": clock_s, "processor_s": processor_s}
    return {"bytes": size_bytes, **seconds, "above_bytes": found.grown_bytes, "times_told": len(told)}


def alone(what: str, *more: str) -> dict[str, Any]:
    """Gives what a process of its own finds."""
    command = [sys.executable, "-m", "benchmarks.surgery", "trimming", "--only", what, *more]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


def take(rounds: int) -> dict[str, Any]:
    """Times everything."""
    made = make(FULL, HIDDEN)
    kept = kept_ids(made, KEPT)
    ours = [timed(lambda: trim_vocabulary(made.model, made.tokenizer, kept)) for _ in range(rounds)]
    theirs = {size: time_quadratic(size) for size in QUADRATIC}
    return {"trim_s": ours, "quadratic_s": theirs, "memory": alone("memory")}


def lines_of(found: dict[str, Any]) -> list[str]:
    """Gives the tables, and of each target whether it was reached."""
    clock, processor = (statistics.median(one) for one in zip(*found["trim_s"], strict=True))
    lines = ["| method | pieces | kept | clock | processor |", "|---|---:|---:|---:|---:|"]
    lines.append(f"| trim, model and tokenizer | {FULL:,} | {KEPT:,} | {clock:.2f} s | {processor:.2f} s |")
    for size, (clock_s, processor_s) in found["quadratic_s"].items():
        share = size * KEPT // FULL
        lines.append(
            f"| quadratic, pieces alone | {size:,} | {share:,} | {clock_s:.2f} s | {processor_s:.2f} s |"
        )
    largest = max(found["quadratic_s"])
    told = found["quadratic_s"][largest][1] * (FULL / largest) ** 2
    lines += [
        "",
        f"The quadratic method at {FULL:,} pieces, by the square: {told:.0f} processor seconds "
        f"({told / processor:.0f} times as long). Not run at that size.",
        "",
        *(
            f"- time, {kind}: {taken:.2f} s, wanted ≤ {SECONDS_TARGET:g} s: {_reached(taken, SECONDS_TARGET)}"
            for kind, taken in (("clock", clock), ("processor", processor))
        ),
    ]
    above = found["memory"]["above_bytes"]
    if above is not None:
        whole = format_bytes(found["memory"]["model_bytes"])
        lines.append(
            f"- memory beyond the model's {whole}: {format_bytes(above)}, "
            f"wanted ≤ {format_bytes(BYTES_TARGET)}: {_reached(above, BYTES_TARGET)}"
        )
    if "counting" in found:
        lines += ["", "| text | clock | processor | peak above before | progress told |"]
        lines.append("|---:|---:|---:|---:|---:|")
        for one in found["counting"]:
            above = "–" if one["above_bytes"] is None else format_bytes(one["above_bytes"])
            seconds = f"{one['clock_s']:.0f} s | {one['processor_s']:.0f} s"
            lines.append(
                f"| {format_bytes(one['bytes'])} | {seconds} | {above} | {one['times_told']:,} times |"
            )
    return lines


def _reached(value: float, most: float) -> str:
    return "reached" if value <= most else "missed"


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser("benchmarks.surgery trimming", __doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--text-bytes", type=int, default=0, help="also count text of this size, and a tenth")
    parser.add_argument("--record", type=Path, help="the folder the record is written to")
    parser.add_argument("--only", choices=("memory", "counting"), help="only say this, as JSON")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Runs everything, prints the tables and writes the record."""
    asked = arguments(given)
    if asked.only:
        print(json.dumps(peak() if asked.only == "memory" else count_text(asked.text_bytes)))
        return 0
    found = take(asked.rounds)
    if asked.text_bytes:
        sizes = (asked.text_bytes // 10, asked.text_bytes)
        found["counting"] = [alone("counting", "--text-bytes", str(one)) for one in sizes]
    lines = lines_of(found)
    print("\n".join(lines))
    if asked.record:
        print(f"written: {write_record(asked.record, 'trimming', describe_environment('cpu'), found, lines)}")
    return 0
