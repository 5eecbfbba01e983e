"""Count the instructions of the CPU kernels' inner loops by callgrind, where it is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from harness.errors import HarnessError

_DRIVER = Path(__file__).with_suffix(".cpp")
_FLAGS = ("-O3", "-std=c++20", "-fno-math-errno", "-g")
_COST = re.compile(r"^\s*([\d,]+) \([\s\d.]+%\)\s+\S*?:counted_(\w+)", re.MULTILINE)


def list_missing_tools() -> list[str]:
    """Return the names of the tools that are needed for counting and not installed."""
    compiler = os.environ.get("CXX", "c++").split()[0]
    return [one for one in (compiler, "valgrind", "callgrind_annotate") if shutil.which(one) is None]


def count_instructions(package: Path) -> dict[str, int]:
    """Return the instructions of one call of each inner loop over one row, with the baseline instruction set.

    Invariants:
        The same sources and compiler lead to the same counts. Empty where the revision has no kernels.

    Args:
        package: the folder that holds ``csrc``.

    Raises:
        HarnessError: the loops do not compile, or callgrind does not run.
    """
    if not (package / "csrc" / "cpu" / "instruction_set.h").is_file():
        return {}
    with tempfile.TemporaryDirectory() as scratch:
        driver, profile = f"{scratch}/driver", f"{scratch}/profile"
        compiler = os.environ.get("CXX", "c++").split()
        _run([*compiler, *_FLAGS, f"-I{package / 'csrc'}", str(_DRIVER), "-o", driver])
        collect = ["--toggle-collect=counted_*", f"--callgrind-out-file={profile}"]
        _run(["valgrind", "--tool=callgrind", "--quiet", *collect, driver])
        report = _run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", profile])
    return {f"instructions of {name}": int(cost.replace(",", "")) for cost, name in _COST.findall(report)}


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if "error" in line), "no reason")
        raise HarnessError(
            f"compare: expected a count of instructions; {Path(command[0]).name} failed: {reason}"
        )
    return done.stdout
