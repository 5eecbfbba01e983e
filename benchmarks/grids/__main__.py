"""`python -m benchmarks.grids cells|store`."""

import sys

from benchmarks.common.programs import run_program
from benchmarks.grids import cells, store

PROGRAMS = {"cells": cells.main, "store": store.main}

if __name__ == "__main__":
    sys.exit(run_program("benchmarks.grids", PROGRAMS, sys.argv[1:]))
