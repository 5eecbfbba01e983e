"""A hub on loopback for each test, and the environment of a process that reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def load_helper(name: str) -> ModuleType:
    """Load a module that lies next to the tests; tests are no package."""
    spec = spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Any]:
    """Serve ``tmp_path/hub``, which is empty at first."""
    (tmp_path / "hub").mkdir()
    with load_helper("mirror").serve(tmp_path / "hub") as mirror:
        yield mirror


@pytest.fixture
def run_harness(hub: Any, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command of the harness against the served hub, with an empty cache of its own."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "160",
    }

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "harness", *map(str, words)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
        )

    return run
