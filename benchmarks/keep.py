"""Keeps a finished run as a record: its results and its plot of score against size, nothing of its data.

    python -m benchmarks.keep runs/mt/gurgurov2025-mini            # into benchmarks/records

What README shows of a run it shows from such a record; a test holds its tables to it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from benchmarks.recording import record_name
from harness.errors import HarnessError
from harness.report.render import read_results

RECORDS = Path(__file__).parent / "records"
_PLOT = "score-by-size.svg"


def keep(run: Path, records: Path) -> list[Path]:
    """Copies ``results.json`` and the plot of a run; gives the copies.

    Raises:
        HarnessError: the run has no sound results, or ran on a checkout with changes of its own.
    """
    results = read_results(run / "results.json")
    if problems := results.problems():
        raise HarnessError(f"keep '{run}': wanted whole results; got {problems[0]}; run it to its end")
    about = results.environment
    if about.get("commit") is None or about.get("dirty"):
        got = "one that names none" if about.get("commit") is None else "a changed checkout of it"
        raise HarnessError(f"keep '{run}': wanted a run of a commit; got {got}; commit, and run it anew")
    name = f"{results.run.language}-{results.run.recipe}-{results.run.scale}"
    stem = record_name(name, about)
    records.mkdir(parents=True, exist_ok=True)
    copies = {run / "results.json": records / f"{stem}.json", run / _PLOT: records / f"{stem}.svg"}
    return [Path(shutil.copyfile(source, target)) for source, target in copies.items()]


def main() -> int:
    """Runs the command; a fault is told in one line, with exit code 2."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("--record", type=Path, default=RECORDS, help="folder to write to")
    asked = parser.parse_args()
    try:
        for path in keep(asked.run, asked.record):
            print(path)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
