"""What a signal does to the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import cli

STOPPED = """
import os, signal, sys
from harness import cli
cli.app = lambda **_: os.kill(os.getpid(), int(sys.argv[1]))
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_told_to_stop_says_so_and_keeps_what_was_done(number):
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(int(number))],
        env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 130
    assert done.stderr == "harness: stopped; what was done is kept, the same command goes on from there\n"
