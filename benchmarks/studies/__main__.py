"""`python -m benchmarks.studies students|repetition|initialization`."""

import sys

from benchmarks.common.programs import run_program
from benchmarks.studies import initialization, repetition, students

PROGRAMS = {"students": students.main, "repetition": repetition.main, "initialization": initialization.main}

if __name__ == "__main__":
    sys.exit(run_program("benchmarks.studies", PROGRAMS, sys.argv[1:]))
