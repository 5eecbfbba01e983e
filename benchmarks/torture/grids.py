"""A grid of three languages and three recipes, and runs of it in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.common.paths import ROOT
from harness.config.yaml_file import read_yaml

HERE = Path(__file__).parent
LANGUAGES = ("mt", "sk", "sw")
_CHANGES: Mapping[str, Mapping[str, object]] = {
    "last": {},
    "first": {"keep": "first"},
    "third": {"layers": "1/3"},
}
"""The recipes: by name, in what the layers that they keep differ from those of `recipe.yaml`."""


def write_grid(folder: Path) -> Path:
    """Write the grid and its recipes; return the grid's file."""
    recipes = []
    for name, change in _CHANGES.items():
        recipe = read_yaml(HERE / "recipe.yaml")
        (shorten,) = (step["shorten"] for step in recipe["steps"] if "shorten" in step)
        shorten |= change
        file = folder / f"{name}.yaml"
        file.write_text(json.dumps(recipe), encoding="utf-8")
        recipes.append(str(file))
    grid = {"languages": LANGUAGES, "recipes": recipes, "scales": [str(HERE / "tiny.yaml")]}
    file = folder / "grid.yaml"
    file.write_text(json.dumps(grid), encoding="utf-8")
    return file


class GridRun:
    """A grid that is run in a folder of its own, two cells at a time with a thread each."""

    def __init__(self, file: Path, runs: Path, executor: str) -> None:
        self.runs, self.log = runs, runs.with_suffix(".log")
        self.command = [sys.executable, "-m", "harness", "grid", str(file), "--runs", str(runs)]
        self.command += ["--executor", executor, "--threads", "1", "--workers", "2", "--retries", "20"]
        self.start()

    def start(self) -> None:
        """Start the command, which goes on with what an earlier start has left."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)

    def finish(self) -> str | None:
        """Wait for the end; run what failed again, once. Return the last line of a failure."""
        if self.process.wait() != 0:
            self.start()
            if self.process.wait() != 0:
                return self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
        return None

    @property
    def folder(self) -> Path:
        """The folder of the grid's results."""
        return self.runs / "grids" / "grid"

    @property
    def results(self) -> bytes:
        """The text of the results; empty where there are none."""
        file = self.folder / "results.json"
        return file.read_bytes() if file.is_file() else b""


def run_locally(file: Path, runs: Path) -> GridRun:
    """Return the grid that local workers ran without a disturbance."""
    whole = GridRun(file, runs, "local")
    if problem := whole.finish():
        raise ValueError(f"the undisturbed grid ended with: {problem}")
    return whole
