"""`python -m benchmarks.records keep|leaderboards|results|history`."""

import sys

from benchmarks.common.programs import run_program
from benchmarks.records import history, keep_run, leaderboards, results_page

PROGRAMS = {
    "keep": keep_run.main,
    "leaderboards": leaderboards.main,
    "results": results_page.main,
    "history": history.main,
}

if __name__ == "__main__":
    sys.exit(run_program("benchmarks.records", PROGRAMS, sys.argv[1:]))
