"""`python -m benchmarks.processes`: compare environments of a training process, and workers of a run."""

import sys

from benchmarks.processes.compare import main

if __name__ == "__main__":
    sys.exit(main())
