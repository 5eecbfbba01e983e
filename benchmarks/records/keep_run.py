"""Keep a finished run as a record: its results and its plot, nothing of its data.

    python -m benchmarks.records keep runs/mt/gurgurov2025-mini            # into benchmarks/records

README's tables and docs/leaderboards.md (`benchmarks.records leaderboards`) come from these records; a test
checks that.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.paths import RECORDS
from benchmarks.common.programs import make_parser
from benchmarks.common.recording import name_record
from harness.errors import HarnessError
from harness.report.results import read_results

_PLOTS = ("score-by-variant.svg", "score-by-size.svg")


def keep_run(run: Path, records: Path) -> list[Path]:
    """Copy ``results.json`` of a run and its plot of scores, and return the copies.

    The name of a record names the text, unless it is the built-in text.

    Raises:
        HarnessError: the run has no complete results, or ran on a checkout with uncommitted changes.
    """
    results = read_results(run / "results.json")
    if problems := results.find_problems():
        raise HarnessError(f"keep '{run}': expected complete results; got {problems[0]}; run it to its end")
    about = results.environment
    if about.get("commit") is None or about.get("dirty"):
        got = "no commit" if about.get("commit") is None else "a changed checkout"
        raise HarnessError(f"keep '{run}': expected a run of a commit; got {got}; commit, and run it again")
    text = () if results.run.data == "builtin" else (results.run.data,)
    name = "-".join((results.run.language, results.run.recipe, results.run.scale, *text))
    stem = name_record(name, about)
    records.mkdir(parents=True, exist_ok=True)
    kept = [Path(shutil.copyfile(run / "results.json", records / f"{stem}.json"))]
    drawn = next((run / name for name in _PLOTS if (run / name).is_file()), None)
    if drawn is not None:
        kept.append(Path(shutil.copyfile(drawn, records / f"{stem}.svg")))
    return kept


def main(given: Sequence[str] | None = None) -> int:
    """Run the command; print a fault in one line, with exit code 2."""
    parser = make_parser("benchmarks.records keep", __doc__)
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("--record", type=Path, default=RECORDS, help="folder to write to")
    asked = parser.parse_args(given)
    try:
        for path in keep_run(asked.run, asked.record):
            print(path)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
