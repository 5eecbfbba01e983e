"""The commands. The only module that prints or exits."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from harness import __version__
from harness.config.load import list_recipes, list_scales, load_recipe, load_scale
from harness.config.recipe import Recipe
from harness.config.scale import Scale
from harness.config.shape import KNOWN_TEACHERS, Shape
from harness.config.show import show, to_yaml
from harness.config.teacher import find_shape
from harness.console import Watch, say_plan, say_steps
from harness.errors import HarnessError, UsageError, unknown
from harness.languages import LANGUAGES
from harness.pipeline.execute import execute
from harness.pipeline.plan import Plan
from harness.pipeline.store import Store
from harness.pipeline.verify import verify as find_damage
from harness.stages import RUNNERS, doctor
from harness.stages.blueprint import Blueprint, draw, pretraining_stages
from harness.stages.publish import publish_model, publish_run, run_folder

app = typer.Typer(
    name="harness",
    help="Compress a multilingual encoder into a small one-language encoder, and measure what was lost.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
recipe_app = typer.Typer(help="The published systems, each a list of steps.")
app.add_typer(recipe_app, name="recipe")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Language = Annotated[str, typer.Argument(help="language code, as mt; `harness languages` lists them")]
RecipeName = Annotated[str, typer.Option("--recipe", help="a recipe's name, NAME@VARIANT, or a YAML file")]
ScaleName = Annotated[str, typer.Option("--scale", help="how much: mini, small, paper, or a YAML file")]
Data = Annotated[Path | None, typer.Option("--data", help="data folder with your own text and tasks")]
Teacher = Annotated[Path | None, typer.Option("--teacher", help="folder of your own teacher")]
Runs = Annotated[Path, typer.Option("--runs", help="where runs are kept")]

_DEFAULT_RECIPE = "gurgurov2025"
_INTERRUPTED = 130
_FAULT = 70
"""``EX_SOFTWARE`` of sysexits.h."""
_RUNS = Path("runs")


def main() -> NoReturn:
    """Runs a command; a fault the user can mend is one line on standard error and a non-zero exit."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    _settle_process()
    try:
        code = app(args=arguments or ["--help"], standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        _fail(*_explain(error))
    if code == _INTERRUPTED:  # what typer makes of Ctrl-C
        _fail("stopped; what was done is kept, the same command goes on from there", code)
    sys.exit(code or 0)


def _explain(error: Exception) -> tuple[str, int]:
    """Gives the line and the exit code for a fault."""
    if isinstance(error, HarnessError):
        return str(error), error.exit_code
    if hasattr(error, "format_message"):  # typer's own: the command line does not parse
        return f"{error.format_message().rstrip('.')}; add --help to see what is wanted", UsageError.exit_code
    if isinstance(error, OSError):
        where, what = error.filename or "file", error.strerror or error
        return f"{where}: {what}; mend it and run the same command again", HarnessError.exit_code
    return f"a fault of the harness itself: {type(error).__name__}: {error}; --debug shows where", _FAULT


def _fail(message: str, code: int) -> NoReturn:
    err.print(
        f"harness: {' '.join(message.split())}",
        style="red" if err.is_terminal else None,
        soft_wrap=True,
        markup=False,
    )
    sys.exit(code)


def _settle_process() -> None:
    """Sets what libraries read when they are first imported."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large pages: eager training is up to twice as fast
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it ties its results' order to the threads
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def _blueprint(
    language: str, recipe: str, scale: str, data: Path | None, teacher: Path | None
) -> tuple[Blueprint, str]:
    chosen, amount = load_recipe(recipe), _scale(scale, data, teacher)
    return draw(language, chosen, amount), f"{chosen.name}-{amount.name}"


def _scale(name: str, data: Path | None, teacher: Path | None) -> Scale:
    scale = load_scale(name)
    if data is not None:
        if not data.is_dir():
            raise HarnessError(f"--data {data}: wanted a data folder; got none; name one that exists")
        scale = scale.with_data(str(data))
    if teacher is not None:
        if not teacher.is_dir():
            raise HarnessError(
                f"--teacher {teacher}: wanted a saved model's folder; got none; name one that exists"
            )
        scale = scale.with_teacher(str(teacher))
    return scale


@app.command()
def reproduce(
    language: Language,
    *,
    recipe: RecipeName = _DEFAULT_RECIPE,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    runs: Runs = _RUNS,
) -> None:
    """Run a recipe on a language, from corpus to report; what is done already is kept."""
    blueprint, name = _blueprint(language, recipe, scale, data, teacher)
    store = Store(runs)
    _execute(blueprint.plan, store, f"{language}/{name}")
    folder = publish_run(blueprint, store, run_folder(runs, language, name))
    for task, reason in blueprint.missing_tasks.items():
        err.print(f"not scored: {task}, since {reason}", markup=False)
    out.print(
        f"report: {folder / 'report.md'}  {folder / 'report.html'}  {folder / 'results.json'}", soft_wrap=True
    )
    if blueprint.tasks:
        out.print(f"model:  {folder / 'onnx'}", soft_wrap=True)


def _execute(plan: Plan, store: Store, folder: str) -> None:
    with Watch(err, len(plan)) as watch:
        execute(plan, store, folder, RUNNERS, observer=watch, environment=doctor.environment)


@app.command()
def plan(
    language: Language,
    *,
    recipe: RecipeName = _DEFAULT_RECIPE,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    runs: Runs = _RUNS,
) -> None:
    """Show the stages of a run and which of them are done, without running any."""
    blueprint, name = _blueprint(language, recipe, scale, data, teacher)
    say_plan(out, f"{language}/{name}", blueprint.plan, Store(runs))


@app.command()
def report(
    language: Language,
    *,
    recipe: RecipeName = _DEFAULT_RECIPE,
    scale: ScaleName = "mini",
    data: Data = None,
    teacher: Teacher = None,
    runs: Runs = _RUNS,
) -> None:
    """Print the report of a finished run."""
    blueprint, name = _blueprint(language, recipe, scale, data, teacher)
    found = Store(runs).find(blueprint.plan.keys["report"])
    if found is None:
        raise HarnessError(
            f"report: wanted a finished run {language}/{name} in {runs}; got none; run `harness reproduce`"
        )
    folder = publish_run(blueprint, Store(runs), run_folder(runs, language, name))
    text = (folder / "report.md").read_text(encoding="utf-8")
    out.print(Markdown(text) if out.is_terminal else text, soft_wrap=not out.is_terminal, markup=False)


@app.command()
def pretrain(
    target: Annotated[Path, typer.Option("--out", help="where the teacher is put")],
    scale: ScaleName = "mini",
    data: Data = None,
    runs: Runs = _RUNS,
) -> None:
    """Train a multilingual teacher, on a data folder or the built-in languages, as the scale says."""
    amount = _scale(scale, data, None)
    chosen = Plan(pretraining_stages(amount))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise HarnessError(f"--out {target}: wanted a new or empty folder; got one in use; name another")
    store = Store(runs)
    _execute(chosen, store, f"teachers/{amount.name}")
    publish_model(chosen, store, target)
    out.print(f"teacher: {target}", soft_wrap=True)


@app.command()
def languages(data: Data = None) -> None:
    """List the languages that can be named, and what is known for each."""
    from harness.data import builtin, folder  # noqa: PLC0415  the other commands need neither

    there = set(folder.list_languages(data)) if data else set()
    table = Table("code", "name", "script", "built in", "on the hub", *(["in the folder"] if data else []))
    for code in sorted({*LANGUAGES, *there}):
        row = LANGUAGES.get(code)
        cells = [code, row.name if row else "–", row.script if row else "–"]
        cells += [
            "yes" if code in builtin.LANGUAGES else "–",
            ", ".join(("corpus", *row.tasks)) if row else "–",
        ]
        table.add_row(*cells, *(["yes" if code in there else "–"] if data else []))
    out.print(table)


@app.command()
def verify(runs: Runs = _RUNS) -> None:
    """Read every file of every run again; name those that are not as they were written."""
    if not runs.is_dir():
        raise HarnessError(f"verify: wanted a folder of runs at {runs}; got none; name it by --runs")
    findings = find_damage(runs)
    for finding in findings:
        out.print(f"{finding.path}: {finding.problem}", soft_wrap=True, markup=False)
    if findings:
        raise HarnessError(
            f"verify: {len(findings)} damaged; the next `harness reproduce` makes their stages anew"
        )
    out.print(f"{len(Store(runs).list_stages())} stages, every byte as it was written")


@app.command(name="doctor")
def doctor_command() -> None:
    """Tell what works on this machine, and what to do about what does not."""
    table = Table("what", "found", "what to do")
    for check in doctor.examine():
        table.add_row(check.what, check.found, check.advice or "–")
    out.print(table)


@app.command()
def version() -> None:
    """Print the version."""
    out.print(__version__)


@recipe_app.command("list")
def recipe_list() -> None:
    """List the recipes and scales that ship."""
    for name in list_recipes():
        chosen = load_recipe(name)
        variants = "".join(f" @{variant}" for variant in chosen.variants)
        out.print(f"{name}{variants}  –  {chosen.source}", soft_wrap=True, markup=False)
    out.print(f"scales: {', '.join(list_scales())}")


@recipe_app.command("show")
def recipe_show(
    name: Annotated[str, typer.Argument(help="a recipe's name, NAME@VARIANT, or a YAML file")],
    teacher: Annotated[
        str | None, typer.Option(help="mbert, xlmr or a model's folder; default: the recipe's")
    ] = None,
    scale: ScaleName = "paper",
    yaml: Annotated[bool, typer.Option("--yaml", help="print the file, to be saved and edited")] = False,
) -> None:
    """Print a recipe's steps with the parameters after each, counted from the config alone."""
    chosen, amount = load_recipe(name), load_scale(scale)
    shape = _shape(teacher, chosen, amount)
    rows = show(chosen, shape, amount)
    if yaml:
        out.print(to_yaml(chosen, rows), markup=False, soft_wrap=True, end="")
    else:
        say_steps(out, chosen, rows)


def _shape(teacher: str | None, recipe: Recipe, scale: Scale) -> Shape:
    if teacher is None:
        return find_shape(recipe, scale)
    if teacher in KNOWN_TEACHERS:
        return KNOWN_TEACHERS[teacher].shape
    if not Path(teacher).is_dir():
        raise unknown("teacher", teacher, (*KNOWN_TEACHERS, "a model's folder"))
    return find_shape(recipe, scale.with_teacher(teacher))
