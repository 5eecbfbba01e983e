"""Commands that tell what is there: languages, doctor, version."""

from __future__ import annotations

from rich.table import Table

from harness import __version__
from harness.cli.app import Data, app, out
from harness.languages import LANGUAGES
from harness.stages import doctor


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
