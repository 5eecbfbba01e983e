"""`python -m benchmarks.torture`: kill, damage, fill, lie and fuzz; one table of what was survived."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from benchmarks.common.recording import describe_environment, name_record, write_record
from benchmarks.torture import fuzzing, hub, ray_cluster, runs, slurm_cluster
from benchmarks.torture.tally import Tally
from harness.json_files import read_json

FAULTS: Mapping[str, Callable[[float], list[Tally]]] = MappingProxyType(
    {
        "kill": runs.kill_runs,
        "checkpoints": runs.damage_checkpoints,
        "store": runs.damage_stores,
        "disk": runs.fill_disks,
        "together": runs.run_together,
        "ray": ray_cluster.kill_on_ray,
        "slurm": slurm_cluster.run_on_slurm,
        "hub": hub.misbehave,
        "bombs": fuzzing.read_bombs,
        "fuzz": fuzzing.fuzz_formats,
    }
)


def main() -> int:
    """Try the faults, print the table, and write it where asked; exit with 1 where anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*FAULTS], default=[*FAULTS])
    parser.add_argument("--share", type=float, default=1.0, help="of the tries; 0.01 is a hundredth")
    parser.add_argument("--record", type=Path, help="folder to write the record to")
    asked = parser.parse_args()
    tallies: list[Tally] = []
    for name in asked.only:
        began_s = time.monotonic()
        tried = FAULTS[name](asked.share)
        tallies += tried
        for tally in tried:
            print(tally.describe(), flush=True)
        print(f"{name}: {time.monotonic() - began_s:.0f} s", flush=True)
    print("\n".join(tabulate(tallies)))
    if asked.record is not None:
        print(add_to_record(asked.record, tallies))
    return int(any(tally.lost for tally in tallies))


def add_to_record(folder: Path, tallies: list[Tally]) -> Path:
    """Write the record of this commit and machine; faults that it has and that were not tried now stay."""
    about = describe_environment("cpu")
    path = folder / f"{name_record('torture', about)}.json"
    kept = [Tally(**fault) for fault in read_json(path)["faults"]] if path.is_file() else []
    tried = {tally.fault for tally in tallies}
    merged = [*(tally for tally in kept if tally.fault not in tried), *tallies]
    numbers = {"faults": [tally.record() for tally in merged]}
    return write_record(folder, "torture", about, numbers, tabulate(merged))


def tabulate(tallies: list[Tally]) -> list[str]:
    """Return the table in Markdown, with what was lost below it."""
    rows = [f"| {one.fault} | {one.tries:,} | {one.survived:,} | {len(one.lost):,} |" for one in tallies]
    lost = [f"- {one.fault}: {line}" for one in tallies for line in one.lost[:20]]
    return ["| fault | tries | survived | lost |", "|:--|--:|--:|--:|", *rows, *(["", *lost] if lost else [])]


if __name__ == "__main__":
    sys.exit(main())
