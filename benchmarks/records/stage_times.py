"""Keep as a record what the finished stages of runs took: time, threads, tokens, multiplications and bytes.

    python -m benchmarks.records stages runs --languages mt sl

`python -m benchmarks.records costs` computes from it what other runs cost. Stages that were resumed are left
out, since their manifest has the time of the last attempt alone, and so are those of less than a second.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.paths import RECORDS
from benchmarks.common.programs import make_parser
from benchmarks.common.recording import describe_environment, write_record
from harness.pipeline import manifest
from harness.pipeline.store import Store
from harness.plans.estimate import count_recorded_work, count_tokens

BENCHMARK = "stages"
FEWEST_S = 1.0


def list_times(runs: Path, languages: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield what each finished stage in the folders of some languages took."""
    written = {}
    for folder in Store(runs).list_stages():
        try:
            one = manifest.read(folder)
        except ValueError:
            continue
        written[one.key] = (folder.parts[-3], one)
    manifests = {key: one for key, (_, one) in written.items()}
    for language, one in written.values():
        if language in languages and not one.resumed and one.wall_s >= FEWEST_S:
            yield {
                "language": language,
                "stage": one.stage,
                "kind": one.kind,
                "wall_s": one.wall_s,
                "threads": one.threads,
                "tokens": count_tokens(one.config),
                "work": count_recorded_work(one, manifests),
                "bytes": sum(output.bytes for output in one.outputs.values()),
                "commit": (one.commit or "")[:7],
            }


def main(given: Sequence[str] | None = None) -> int:
    """Write the record."""
    parser = make_parser("benchmarks.records stages", __doc__)
    parser.add_argument("runs", type=Path, help="folder of runs")
    parser.add_argument("--languages", nargs="+", required=True, help="whose runs are taken")
    parser.add_argument("--record", type=Path, default=RECORDS, help="folder to write to")
    asked = parser.parse_args(given)
    rows = sorted(list_times(asked.runs, asked.languages), key=lambda row: (row["language"], row["stage"]))
    lines = ["| language | stage | wall s | threads |", "|---|---|---:|---:|"]
    lines += [f"| {row['language']} | {row['stage']} | {row['wall_s']} | {row['threads']} |" for row in rows]
    print(write_record(asked.record, BENCHMARK, describe_environment("cpu"), {"stages": rows}, lines))
    return 0
