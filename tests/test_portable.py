"""The package needs nothing that Windows or macOS lack to be imported and to keep runs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ABSENT = ("fcntl", "pwd", "grp", "termios", "resource")
"""Modules of the standard library that Windows does not have."""

PROGRAM = f"""
import sys
import filelock, psutil, pydantic, typer, yaml  # these look for the system by themselves
for name in {ABSENT!r}:
    sys.modules[name] = None
import harness.cli
from pathlib import Path
from harness.pipeline import Environment, Observer, Plan, Stage, Store, execute, verify
def write(context):
    (context.out / "file").write_text("1")
root = Path(sys.argv[1])
for _ in range(2):
    execute(Plan([Stage("one", "write", 1, {{}}, {{}})]), Store(root), "mt/x", {{"write": write}},
            observer=Observer(), environment=Environment)
print(len(Store(root).list_stages()), verify(root))
"""


def test_commands_and_run_store_work_without_what_windows_lacks(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "runs")],
        capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "1 []"


def test_no_module_imports_at_once_what_windows_lacks():
    for path in sorted((ROOT / "harness").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            names |= {node.module} if isinstance(node, ast.ImportFrom) else set()
            assert not names & {*ABSENT}, path
