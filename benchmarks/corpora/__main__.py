"""`python -m benchmarks.corpora`: try `harness corpus` on a generated web corpus."""

import sys

from benchmarks.corpora.trials import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
