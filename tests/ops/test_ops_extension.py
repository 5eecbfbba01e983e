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


def test_the_reference_can_be_forced():
    assert run(SAY, HARNESS_OPS="reference").stdout.strip() == "reference | HARNESS_OPS=reference"


def test_an_unknown_choice_lists_what_exists():
    found = run(SAY, HARNESS_OPS="fast")
    assert "unknown value of HARNESS_OPS 'fast'; there are: auto, compiled, reference." in found.stderr


def test_without_the_library_the_reference_says_why_and_compiled_is_an_error(tmp_path):
    hide = (
        "import pathlib; glob = pathlib.Path.glob; "
        "pathlib.Path.glob = lambda self, p: iter(()) if '_kernels' in p else glob(self, p); "
    )
    found = run(hide + SAY, HARNESS_OPS="auto")
    assert found.stdout.startswith("reference | no compiled extension is installed;"), found.stderr
    found = run(hide + SAY, HARNESS_OPS="compiled")
    assert (
        "HarnessError: ops: HARNESS_OPS=compiled: expected the extension; got none: no compiled"
        in found.stderr
    )


def test_a_library_that_does_not_load_is_named(tmp_path):
    broken = tmp_path / "_kernels.so"
    broken.write_text("no library")
    code = f"import pathlib; pathlib.Path.glob = lambda self, p: iter([pathlib.Path({str(broken)!r})]); {SAY}"
    found = run(code, HARNESS_OPS="auto")
    assert found.stdout.startswith("reference | _kernels.so does not load:"), found.stderr


def test_a_library_of_another_schema_is_refused(compiled_only):
    code = (
        "import pathlib, re; import harness.errors; "
        "source = pathlib.Path(harness.errors.__file__).parent / 'ops' / 'extension.py'; "
        "text = re.sub(r'SCHEMA_VERSION = \\d+', 'SCHEMA_VERSION = 999', source.read_text()); "
        "exec(compile(text, str(source), 'exec'), {'__file__': str(source), '__name__': 'extension'})"
    )
    found = run(code, HARNESS_OPS="auto")
    assert "ops: expected kernels of schema 999; got" in found.stderr


def test_other_devices_run_the_reference():
    assert ops.implementation("meta") == "reference"
    with pytest.raises(RuntimeError):
        ops.implementation("nowhere")
