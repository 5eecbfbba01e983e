"""A signal ends the command with one line."""

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
def test_stopped_command_says_how_to_resume(number):
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(int(number))],
        env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 130
    assert done.stderr == "harness: stopped; finished work is kept, run the same command again to resume\n"
