"""The commands, one module a group. The only package that prints or exits."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import MappingProxyType
from typing import NoReturn

import typer

from harness.cli.app import app, err
from harness.cli.terminal import prepare_terminal
from harness.cli.threads import choose_default, use_threads
from harness.errors import HarnessError, UsageError, is_out_of_memory

# Each of these adds its commands to the app, in the order in which --help shows them.
# isort: off
import harness.cli.runs
import harness.cli.score
import harness.cli.pairs
import harness.cli.recipes
import harness.cli.export
import harness.cli.labelling
import harness.cli.studies
import harness.cli.grids
import harness.cli.corpus
import harness.cli.vocabularies
import harness.cli.demo
import harness.cli.push
import harness.cli.convert
import harness.cli.machine  # noqa: F401
# isort: on

EXTRAS = MappingProxyType(
    {"datasets": "hub", "onnx": "export", "onnxscript": "export"}
    | {"ray": "ray", "fsspec": "bucket"}
    | dict.fromkeys(("datatrove", "loguru", "regex", "warcio"), "web")
    | dict.fromkeys(("accelerate", "huggingface_hub", "matplotlib", "peft", "safetensors"), "train")
    | dict.fromkeys(("scipy", "sklearn", "threadpoolctl", "torch", "transformers", "zstandard"), "train")
)
"""The extra that installs a package which the core does not need."""
_INTERRUPTED = 130
_FAULT = 70
"""``EX_SOFTWARE`` of sysexits.h."""


def main() -> NoReturn:
    """Run a command; an error that the user can fix is one line on standard error and a non-zero exit."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    _prepare_process()
    try:
        code = app(args=arguments or ["--help"], standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        _fail(*_explain(error))
    if code == _INTERRUPTED:  # typer's code for Ctrl-C
        _fail("stopped; finished work is kept, run the same command again to resume", code)
    sys.exit(code or 0)


def _explain(error: Exception) -> tuple[str, int]:
    """Return the line and the exit code for an error."""
    if is_out_of_memory(error):
        advice = "free memory, or take a smaller model or scale"
        explained = f"memory: expected room for the model and its data; got none left; {advice}"
        return explained, HarnessError.exit_code
    if isinstance(error, HarnessError):
        return str(error), error.exit_code
    if hasattr(error, "format_message"):  # typer's own: the command line does not parse
        return f"{error.format_message().rstrip('.')}; add --help to see the usage", UsageError.exit_code
    if isinstance(error, ModuleNotFoundError) and (extra := EXTRAS.get(str(error.name).partition(".")[0])):
        needed = f"{error.name}: expected the package; it is not installed; "
        return f"{needed}pip install 'harness-encoders[{extra}]'", HarnessError.exit_code
    line = _explain_environment(error)
    if line is not None:
        return line, HarnessError.exit_code
    return f"internal error: {type(error).__name__}: {error}; --debug shows where", _FAULT


def _explain_environment(error: Exception) -> str | None:
    """Return the line for what a machine or its files lack; None for any other error."""
    if isinstance(error, OSError):
        where, what = error.filename or "file", error.strerror or error
        return f"{where}: {what}; fix it and run the same command again"
    if isinstance(error, UnicodeError):
        advice = "rename the file or folder, or convert the text"
        return f"text: expected UTF-8; got bytes that are none ({error}); {advice}"
    return None


def _fail(message: str, code: int) -> NoReturn:
    err.print(
        f"harness: {' '.join(message.split())}",
        style="red" if err.is_terminal else None,
        soft_wrap=True,
        markup=False,
    )
    sys.exit(code)


def _prepare_process() -> None:
    """Set the variables that libraries read when they are imported; make SIGTERM end a run like Ctrl-C.

    In a container the harness is process 1, for which the system ignores SIGTERM unless it is handled.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    prepare_terminal()
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large pages: eager training is up to twice as fast
    os.environ.setdefault(
        "TOKENIZERS_PARALLELISM", "false"
    )  # it makes the order of results depend on threads
    use_threads(choose_default())
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
