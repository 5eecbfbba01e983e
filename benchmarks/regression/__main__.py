"""`python -m benchmarks.regression BASE`: compare this checkout with another revision."""

import sys

from benchmarks.regression.compare import main

if __name__ == "__main__":
    sys.exit(main())
