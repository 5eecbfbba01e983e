"""`python -m benchmarks.records keep|leaderboards|history`."""

import sys

from benchmarks.common.programs import run_program
from benchmarks.records import history, keep_run, leaderboards

PROGRAMS = {"keep": keep_run.main, "leaderboards": leaderboards.main, "history": history.main}

if __name__ == "__main__":
    sys.exit(run_program("benchmarks.records", PROGRAMS, sys.argv[1:]))
