"""Keeps a finished run as a record: its results, its plot and a study's leaderboard, nothing of its data.

    python -m benchmarks.keep runs/mt/gurgurov2025-mini            # into benchmarks/records

What README shows of a run it shows from such a record; a test holds its tables to it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

from benchmarks.recording import record_name
from harness.errors import HarnessError
from harness.report.render import read_results

RECORDS = Path(__file__).parent / "records"
_PLOT = "score-by-size.svg"
_BOARD = "leaderboard.md"
_PICTURE = re.compile(r"\]\(([\w-]+\.svg)\)")


def keep(run: Path, records: Path) -> list[Path]:
    """Copies ``results.json`` and the plot of score against size of a run; gives the copies.

    Of a study (`harness compare`, `harness ablate`) the leaderboard and its plots are copied too.

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
    names = {"results.json": f"{stem}.json", _PLOT: f"{stem}.svg"}
    board = (run / _BOARD).read_text(encoding="utf-8") if (run / _BOARD).is_file() else ""
    for picture in _PICTURE.findall(board):
        names.setdefault(picture, f"{stem}-{picture}")
    kept = [Path(shutil.copyfile(run / source, records / target)) for source, target in names.items()]
    if board:
        kept.append(records / f"{stem}.md")
        linked = _PICTURE.sub(lambda found: f"]({names[found[1]]})", board)
        kept[-1].write_text(linked, encoding="utf-8", newline="\n")
    return kept


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
