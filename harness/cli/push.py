"""The command that puts a folder on the hub: push."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from harness.cli.app import app, out, print_table
from harness.deploy.push import Upload, plan_upload, send_upload
from harness.units import format_bytes


@app.command()
def push(
    folder: Annotated[
        Path, typer.Argument(help="a run's student/, an export, a run's folder, or the page of demo --out")
    ],
    repository: Annotated[str, typer.Argument(metavar="ORG/NAME", help="the repository on the hub")],
    *,
    public: Annotated[
        bool, typer.Option("--public", help="let everybody see it; else it is private")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print what would be sent; send nothing")
    ] = False,
) -> None:
    """Put a student, an export, results or the demo's page on the hub; private unless --public."""
    upload = plan_upload(folder, repository)
    if dry_run:
        print_table(_tabulate(upload))
        visible = "public" if public else "private"
        total = format_bytes(upload.size_bytes)
        out.print(f"{len(upload.files)} files, {total}, {visible}; nothing was sent", soft_wrap=True)
        return
    from huggingface_hub import HfApi  # noqa: PLC0415  a dry run needs no client

    out.print(send_upload(upload, HfApi(), private=not public), soft_wrap=True, markup=False)


def _tabulate(upload: Upload) -> Table:
    table = Table("file", "size", title=f"{upload.kind} {upload.repository}", title_justify="left")
    for name, size in upload.files.items():
        table.add_row(name, format_bytes(size))
    return table
