"""The command that opens an exported model in a browser: demo."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import app, out
from harness.deploy.server import HOST, DemoServer
from harness.deploy.site import write_site
from harness.errors import HarnessError
from harness.export.record import read_export


@app.command()
def demo(
    model: Annotated[Path, typer.Argument(help="a folder that `harness export` made")],
    *,
    precision: Annotated[str | None, typer.Option(help="which of its files; else its default")] = None,
    compare: Annotated[
        Path | None,
        typer.Option(help="the export of another model for the task, as the teacher's, to show too"),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8000,
    target: Annotated[
        Path | None, typer.Option("--out", help="write the page there for any web server; serve nothing")
    ] = None,
) -> None:
    """Serve a page on which an exported model labels the sentences that the user types."""
    record = read_export(model)
    compared = None if compare is None else (compare, read_export(compare))
    if target is not None:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise HarnessError(
                f"--out {target}: expected a new or empty folder; got one in use; name another"
            )
        page = write_site(model, record, target, precision=precision, compared=compared)
        out.print(f"page: {page}", soft_wrap=True)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_site(model, record, Path(scratch), precision=precision, compared=compared)
        with _open_server(folder, port) as server:
            out.print(f"http://{HOST}:{server.server_address[1]}/  (Ctrl-C ends it)", soft_wrap=True)
            server.serve_forever()


def _open_server(folder: Path, port: int) -> DemoServer:
    try:
        return DemoServer(folder, port)
    except OSError as error:
        raise HarnessError(
            f"--port {port}: expected a free port; got {error.strerror}; name another, or 0"
        ) from error
