"""`python -m benchmarks.surgery losses|trimming`."""

import sys

from benchmarks.common.programs import run_program
from benchmarks.surgery import losses, trimming

PROGRAMS = {"losses": losses.main, "trimming": trimming.main}

if __name__ == "__main__":
    sys.exit(run_program("benchmarks.surgery", PROGRAMS, sys.argv[1:]))
