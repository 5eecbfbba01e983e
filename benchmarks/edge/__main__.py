"""`python -m benchmarks.edge`: time students of the recipes' shapes; `… budget`: check predicted ones."""

import sys

from benchmarks.edge import budget, latency

if __name__ == "__main__":
    checks = sys.argv[1:2] == ["budget"]
    sys.exit(budget.main(sys.argv[2:]) if checks else latency.main(sys.argv[1:]))
