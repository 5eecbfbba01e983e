"""The command that opens an exported model in a browser: demo."""

from __future__ import annotations

import functools
import tempfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import app, out
from harness.deploy.site import write_site
from harness.errors import HarnessError
from harness.export.record import read_export

_HOST = "127.0.0.1"
_TYPES = {".wasm": "application/wasm", ".mjs": "text/javascript", ".js": "text/javascript"}


@app.command()
def demo(
    model: Annotated[Path, typer.Argument(help="a folder that `harness export` made")],
    *,
    precision: Annotated[str | None, typer.Option(help="which of its files; else its default")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8000,
    target: Annotated[
        Path | None, typer.Option("--out", help="write the page there for any web server; serve nothing")
    ] = None,
) -> None:
    """Serve a page on which an exported model labels the sentences that the user types."""
    record = read_export(model)
    if target is not None:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise HarnessError(
                f"--out {target}: expected a new or empty folder; got one in use; name another"
            )
        out.print(f"page: {write_site(model, record, target, precision=precision)}", soft_wrap=True)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_site(model, record, Path(scratch), precision=precision)
        with _server(folder, port) as server:
            out.print(f"http://{_HOST}:{server.server_address[1]}/  (Ctrl-C ends it)", soft_wrap=True)
            server.serve_forever()


class _Handler(SimpleHTTPRequestHandler):
    """Serves files without logging."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | _TYPES

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def _server(folder: Path, port: int) -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer((_HOST, port), functools.partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise HarnessError(
            f"--port {port}: expected a free port; got {error.strerror}; name another, or 0"
        ) from error
