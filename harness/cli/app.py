"""The application that the commands are added to, its consoles, and the options that commands share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column, Table
from typer.core import TyperGroup

from harness import __version__
from harness.config.score_settings import SCORED_MODELS
from harness.config.values import MOST_SEED
from harness.errors import UsageError
from harness.report.escaping import drop_control_characters
from harness.train.trackers import TRACKERS


class Commands(TyperGroup):
    """A group whose help shows the summary of each command whole, on several lines where one is too short."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with their summaries."""
        commands = [one for name in self.list_commands(ctx) if (one := self.get_command(ctx, name))]
        rows = [(one.name, one.get_short_help_str(limit=_WIDEST)) for one in commands if not one.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


app = typer.Typer(
    name="harness",
    help="Compress a multilingual encoder into a small one-language encoder, and measure what was lost.",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class SafeConsole(Console):
    """A console that prints no control character of a text: file names and data may hold escape sequences."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of something to print, without control characters in their texts."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else str(drop_control_characters(text)), style, control)


out = SafeConsole(highlight=False)
err = SafeConsole(stderr=True, highlight=False)

Language = Annotated[
    str | None,
    typer.Argument(help="language code, as mt; `harness languages` lists them"),
]
LanguageOption = Annotated[
    str | None, typer.Option("--lang", "--language", help="the language, in place of the argument")
]
RecipeName = Annotated[
    str | None,
    typer.Option("--recipe", help="a recipe's name, NAME@VARIANT, or a YAML file; default: the scale's"),
]
ScaleName = Annotated[
    str, typer.Option("--scale", help="how much: mini, small, laptop, paper, or a YAML file")
]
Data = Annotated[Path | None, typer.Option("--data", help="data folder with your own text and tasks")]
StrictData = Annotated[
    bool,
    typer.Option("--strict-data", help="refuse labelled data that has to be read otherwise than written"),
]
Teacher = Annotated[
    str | None,
    typer.Option("--teacher", help="another teacher: a model's folder, or ORG/NAME[@REVISION] of the hub"),
]
TaskNames = Annotated[
    str | None,
    typer.Option("--tasks", help="tasks, as pos,topic; default: all that --data has, or else the scale's"),
]
Scored = Annotated[
    str | None,
    typer.Option(
        "--score",
        help=f"models to score: {', '.join(SCORED_MODELS)}; default: the scale's. final: the teacher, the "
        "trimmed teacher, the student and the baselines",
    ),
]
Runs = Annotated[Path, typer.Option("--runs", help="where runs are kept")]
CheckpointEvery = Annotated[
    float | None,
    typer.Option(
        "--checkpoint-every",
        min=0.0,
        metavar="SECONDS",
        help="seconds between checkpoints; default: 60, or more where they would take over 5 % of the time",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        max=MOST_SEED,
        help="of everything that is drawn but the scores; default: the scale's",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:NUMBER")]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="threads of a computation; default: as many as may run at once, or a worker's share of them",
    ),
]
Workers = Annotated[
    str,
    typer.Option(
        "--workers",
        metavar="N|auto",
        help="processes that run independent stages; auto: as many as processors and memory allow",
    ),
]
Track = Annotated[
    str | None,
    typer.Option("--track", help=f"trackers that follow each training, as mlflow: {', '.join(TRACKERS)}"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, for other programs")]

_WIDEST = 400
_NARROWEST = 18
"""Cells with spaces are folded, but no narrower than this."""


def _print_version(asked: bool) -> None:
    if asked:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _take_common_options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="print the version"),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="on an internal error, print where it was")] = False,
) -> None:
    del version, debug  # `harness.cli.main` reads --debug, in any place


def choose_language(argument: str | None, option: str | None) -> str:
    """Return the language that a command was given, as its argument or as ``--lang``.

    Raises:
        UsageError: there is none, or there are two.
    """
    if argument is not None and option is not None and argument != option:
        raise UsageError(f"--lang: expected one language; got {argument} and {option}; remove one")
    language = option if argument is None else argument
    if language is None:
        raise UsageError(
            "--lang: expected a language, as mt; got none; add it; `harness languages` lists them"
        )
    return language


def print_json(value: Any) -> None:
    """Print a value as JSON, each line whole."""
    out.print(json.dumps(value, ensure_ascii=False, indent=1), markup=False, soft_wrap=True)


def print_table(table: Table, *, keys: int = 1) -> None:
    """Print a table; into a file or a pipe as wide as its cells, so that each row is one line.

    Where a terminal is too narrow, lines between columns are left out and long cells are folded; where that
    is not enough, the table is printed in parts, each with the leading columns. No cell is cut.

    Args:
        table: to print.
        keys: number of leading columns, which every part has.
    """
    console = out if out.is_terminal else SafeConsole(file=out.file, highlight=False, width=_WIDEST)
    if console.measure(table, options=console.options.update(width=_WIDEST)).maximum <= console.width:
        console.print(table)
        return
    for part in _split_table(table, keys, console.width):
        console.print(part)


def _split_table(table: Table, keys: int, width: int) -> Iterator[Table]:
    """Yield parts of a table that fit a width: the leading columns and some of the others."""
    needed = [_measure_column(column, key=place < keys) for place, column in enumerate(table.columns)]
    room = width - sum(needed[:keys])
    chosen: list[int] = []
    for place in range(keys, len(needed)):
        if chosen and sum(needed[one] for one in chosen) + needed[place] > room:
            yield _take_columns(table, [*range(keys), *chosen], needed, width)
            chosen = []
        chosen.append(place)
    yield _take_columns(table, [*range(keys), *chosen], needed, width)


def _measure_column(column: Column, *, key: bool) -> int:
    """Return how wide a column must be, with a space between columns, where texts with spaces are folded."""
    texts = [str(column.header), *map(str, column.cells)]
    longest = max(map(cell_len, texts))
    if key or longest <= _NARROWEST:
        return longest + 1
    return max(_NARROWEST, *(cell_len(word) for text in texts for word in text.split())) + 1


def _take_columns(table: Table, places: Sequence[int], needed: Sequence[int], width: int) -> Table:
    """Return a table of some columns; the first part has the title."""
    fits = sum(needed[place] for place in places) <= width
    first = places[-1] == len(places) - 1
    part = Table(
        title=table.title if first else None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0)
    )
    for place in places:
        least = needed[place] - 1 if fits else None
        part.add_column(str(table.columns[place].header), overflow="fold", min_width=least)
    for row in zip(*(table.columns[place].cells for place in places), strict=True):
        part.add_row(*row)
    return part


def hint(line: str) -> None:
    """Print a line of advice."""
    err.print(line, markup=False, soft_wrap=True)
