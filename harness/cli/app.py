"""The application that the commands are added to, its consoles, and the options that commands share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
from harness.config.load import load_recipe, load_scale, update_name
from harness.config.scale import SCORED_MODELS, Scale
from harness.errors import HarnessError, UsageError
from harness.plans.run import RunPlan, plan_run
from harness.report.escaping import drop_control_characters


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
    typer.Option("--seed", min=0, help="of everything that is drawn but the scores; default: the scale's"),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:NUMBER")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, for other programs")]

DEFAULT_RECIPE = "gurgurov2025"
DEFAULT_RUNS = Path("runs")
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


@dataclass(frozen=True)
class ScaleOptions:
    """The options that replace parts of a scale; None, and False, leave the scale as it is.

    Attributes:
        data: data folder with the corpus and the tasks.
        teacher: a model's folder, or hub id.
        strict_data: whether labelled data that has to be read otherwise than written is refused.
        tasks: names of the tasks to score, separated by commas.
        score: of the models to score, one of `SCORED_MODELS`.
        seed: of everything that is drawn but the scores.
    """

    data: Path | None = None
    teacher: str | None = None
    strict_data: bool = False
    tasks: str | None = None
    score: str | None = None
    seed: int | None = None


def plan_chosen_run(
    language: str, recipe: str | None, scale: str, options: ScaleOptions
) -> tuple[RunPlan, str]:
    """Return the plan of the run that the options describe, and the run's name."""
    amount = choose_scale(scale, options)
    chosen = load_recipe(rename_recipe(recipe or amount.recipe or DEFAULT_RECIPE))
    return plan_run(language, chosen, amount), f"{chosen.name}-{amount.name}"


def rename_recipe(name: str) -> str:
    """Return the present name of a recipe; print a hint where a former name was given."""
    present = update_name(name)
    if present != name:
        err.print(
            f"the recipe '{name}' is now called {present}; use the new name", markup=False, soft_wrap=True
        )
    return present


def choose_scale(name: str, options: ScaleOptions) -> Scale:
    """Load a scale; replace the parts of it that the options name."""
    scale, data, teacher = load_scale(name), options.data, options.teacher
    if options.seed is not None:
        scale = scale.model_copy(update={"seed": options.seed})
    if options.strict_data:
        scale = scale.with_strict_data()
    if data is not None:
        if not data.is_dir():
            raise HarnessError(f"--data {data}: expected a data folder; got none; name one that exists")
        scale = scale.with_data(str(data))
    if options.tasks is not None:
        scale = scale.with_tasks(options.tasks.split(","))
    if options.score is not None:
        scale = scale.with_scored_models(options.score)
    return choose_teacher(scale, teacher)


def choose_teacher(scale: Scale, teacher: str | None) -> Scale:
    """Return a scale with a teacher from a folder or of the hub; None leaves the scale's own."""
    asked = teacher or scale.teacher.hub or ""
    if teacher is not None and Path(teacher).is_dir():
        return scale.with_teacher(teacher)
    if "/" in asked and not Path(asked).is_absolute():
        return _take_from_hub(scale, asked)
    if teacher is not None:
        raise HarnessError(
            f"--teacher {teacher}: expected a saved model's folder, or a hub id as ORG/NAME; got neither; "
            "name a folder that exists"
        )
    return scale


def _take_from_hub(scale: Scale, source: str) -> Scale:
    """Return a scale whose teacher is a model of the hub, at the commit that its revision has now."""
    from harness.models.loading.hub import locate_pinned  # noqa: PLC0415 - planning imports no torch

    origin, folder = locate_pinned(source)
    return scale.with_teacher(str(folder), origin)
