from __future__ import annotations

import os
import subprocess
import sys

import pytest

from harness import ops


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


SAY = "from harness import ops; print(ops.implementation(), '|', ops.explanation())"


def test_reference_can_be_forced():
    assert run(SAY, HARNESS_OPS="reference").stdout.strip() == "reference | HARNESS_OPS=reference"


def test_unknown_choice_lists_the_known():
    done = run(SAY, HARNESS_OPS="fast")
    assert "unknown value of HARNESS_OPS 'fast'; there are: auto, compiled, reference." in done.stderr


def test_missing_library(tmp_path):
    hide = (
        "import pathlib; glob = pathlib.Path.glob; "
        "pathlib.Path.glob = lambda self, p: iter(()) if '_kernels' in p else glob(self, p); "
    )
    done = run(hide + SAY, HARNESS_OPS="auto")
    assert done.stdout.startswith("reference | no compiled extension is installed;"), done.stderr
    done = run(hide + SAY, HARNESS_OPS="compiled")
    assert (
        "HarnessError: ops: HARNESS_OPS=compiled: expected the extension; got none: no compiled"
        in done.stderr
    )


def test_broken_library_is_named(tmp_path):
    broken = tmp_path / "_kernels.so"
    broken.write_text("no library")
    code = f"import pathlib; pathlib.Path.glob = lambda self, p: iter([pathlib.Path({str(broken)!r})]); {SAY}"
    done = run(code, HARNESS_OPS="auto")
    assert done.stdout.startswith("reference | _kernels.so does not load:"), done.stderr


def test_library_of_another_schema_is_refused(compiled_only):
    code = (
        "import pathlib, re; import harness.errors; "
        "source = pathlib.Path(harness.errors.__file__).parent / 'ops' / 'extension.py'; "
        "text = re.sub(r'SCHEMA_VERSION = \\d+', 'SCHEMA_VERSION = 999', source.read_text()); "
        "exec(compile(text, str(source), 'exec'), {'__file__': str(source), '__name__': 'extension'})"
    )
    done = run(code, HARNESS_OPS="auto")
    assert "ops: expected kernels of schema 999; got" in done.stderr


def test_other_devices_run_the_reference():
    assert ops.implementation("meta") == "reference"
    with pytest.raises(RuntimeError):
        ops.implementation("nowhere")
