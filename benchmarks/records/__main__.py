"""`python -m benchmarks.records keep|leaderboards|results|history|stages|costs`."""

import sys

from benchmarks.common.programs import run_program
from benchmarks.records import costs, history, keep_run, leaderboards, results_page, stage_times

PROGRAMS = {
    "keep": keep_run.main,
    "leaderboards": leaderboards.main,
    "results": results_page.main,
    "history": history.main,
    "stages": stage_times.main,
    "costs": costs.main,
}

if __name__ == "__main__":
    sys.exit(run_program("benchmarks.records", PROGRAMS, sys.argv[1:]))
