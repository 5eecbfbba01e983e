"""Command lines: a parser in one form, and rooms that have several programs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

Program = Callable[[Sequence[str]], int]


def make_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser for ``python -m <name>`` that prints the description as it is written."""
    return argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run_program(room: str, programs: Mapping[str, Program], given: Sequence[str]) -> int:
    """Run the program that the first argument names, and return its exit code.

    Args:
        room: name of the package, for the usage message.
        programs: main functions by name.
        given: the command line.
    """
    if given and given[0] in programs:
        return programs[given[0]](given[1:])
    print(
        f"usage: python -m {room} {{{','.join(programs)}}} …   (add --help for the options)", file=sys.stderr
    )
    return 0 if given and given[0] in {"-h", "--help"} else 2
