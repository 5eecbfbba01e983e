"""`python -m benchmarks.ops`: time the ops."""

import sys

from benchmarks.ops.timing import main

if __name__ == "__main__":
    sys.exit(main())
