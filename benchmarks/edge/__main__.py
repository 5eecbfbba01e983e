"""`python -m benchmarks.edge`: time students of the recipes' shapes."""

import sys

from benchmarks.edge.latency import main

if __name__ == "__main__":
    sys.exit(main())
