"""The core: what the commands and functions need that are there without any extra."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.cli import EXTRAS

MISSING = sorted(EXTRAS.keys() - {"huggingface_hub"})  # which tokenizers needs
BLOCKED = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {MISSING!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from harness import api, cli
assert callable(api.predict)
cli.main()
"""


@pytest.mark.parametrize("command", [["plan", "mt", "--json"], ["recipe", "show", "gurgurov2025"]])
def test_commands_that_compute_nothing_need_the_core_alone(command, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *command], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_missing_extra_is_named(tmp_path):
    command = [sys.executable, "-c", BLOCKED, "reproduce", "mt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "pip install 'harness-encoders[train]'" in done.stderr
