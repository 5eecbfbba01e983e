"""`python -m benchmarks.training`: time distillation."""

import sys

from benchmarks.training.throughput import main

if __name__ == "__main__":
    sys.exit(main())
