"""Commands that print what exists: languages, doctor, version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from harness import __version__
from harness.cli import doctor
from harness.cli.app import AsJson, Data, app, out, print_json, print_table
from harness.languages import LANGUAGES

Sources = Annotated[bool, typer.Option("--sources", help="show the hub ids, each with revision and licence")]


@app.command()
def languages(data: Data = None, *, sources: Sources = False, as_json: AsJson = False) -> None:
    """List the known languages, and the data that is known for each."""
    if as_json:
        print_json(_describe_languages(data))
        return
    if sources:
        print_table(_tabulate_sources(), keys=2)
        return
    from harness.data import builtin, folder  # noqa: PLC0415  the other commands need neither

    in_folder = set(folder.list_languages(data)) if data else set()
    table = Table("code", "name", "script", "built in", "on the hub", *(["in the folder"] if data else []))
    for code in sorted({*LANGUAGES, *in_folder}):
        row = LANGUAGES.get(code)
        cells = [code, row.name if row else "–", row.script if row else "–"]
        cells += [
            "yes" if code in builtin.LANGUAGES else "–",
            ", ".join(("corpus", *row.tasks)) if row else "–",
        ]
        table.add_row(*cells, *(["yes" if code in in_folder else "–"] if data else []))
    print_table(table)


def _describe_languages(data: Path | None) -> list[dict[str, Any]]:
    """Return each language with all that is known of it, as plain data."""
    from harness.data import builtin, folder  # noqa: PLC0415  the other commands need neither

    in_folder = set(folder.list_languages(data)) if data else set()
    described = []
    for code in sorted({*LANGUAGES, *in_folder}):
        row = LANGUAGES.get(code)
        sources = {"corpus": row.corpus, **row.tasks} if row else {}
        described.append(
            {
                "code": code,
                "name": row.name if row else None,
                "script": row.script if row else None,
                "builtin": code in builtin.LANGUAGES,
                "in_folder": code in in_folder if data else None,
                "sources": {
                    what: {"hub": one.hub, "revision": one.revision, "licence": one.licence}
                    for what, one in sources.items()
                },
            }
        )
    return described


def _tabulate_sources() -> Table:
    """Return the table of each language's text and tasks on the hub: data files, read without scripts."""
    table = Table("language", "what", "hub id", "revision", "files of train", "columns", "licence")
    for code, row in LANGUAGES.items():
        for what, one in {"corpus": row.corpus, **row.tasks}.items():
            revision = one.revision[:12] if one.revision else f"{one.branch}, resolved when fetched"
            columns = ", ".join(one.columns)
            table.add_row(code, what, one.hub, revision, one.pattern("train"), columns, one.licence)
    return table


@app.command(name="doctor")
def doctor_command(*, as_json: AsJson = False) -> None:
    """Check what works on this machine, and say how to get the rest."""
    if as_json:
        print_json([vars(check) for check in doctor.run_checks()])
        return
    table = Table("what", "found", "what to do")
    for check in doctor.run_checks():
        table.add_row(check.what, check.state, check.advice or "–")
    print_table(table)


@app.command()
def version() -> None:
    """Print the version."""
    out.print(__version__)
