"""Serve the page of `harness demo` to this machine alone, with bounds and a content policy."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any

HOST = "127.0.0.1"
MOST_CONNECTIONS = 32
"""Connections at once; a browser opens six."""
SLOWEST_S = 10.0
"""How long a client may be silent."""
LONGEST_S = 60.0
"""How long a connection may last in all."""
_TYPES = {".wasm": "application/wasm", ".mjs": "text/javascript", ".js": "text/javascript"}
_NAMES = ("127.0.0.1", "localhost")
_HEADERS = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; "
        "connect-src 'self'; style-src 'self'; img-src data:; worker-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
)


class DemoServer(ThreadingHTTPServer):
    """Serves one folder on the loopback address; a connection too many is closed at once.

    Raises:
        OSError: the port is not free.
    """

    daemon_threads = True
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, folder: Path, port: int) -> None:
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((HOST, port), functools.partial(DemoHandler, directory=str(folder)))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, unless too many are at work."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection within the time that it may take, and count it as free after that."""
        end = threading.Timer(LONGEST_S, _cut, (request,))
        end.daemon = True
        end.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client that leaves is no error of the server."""


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class DemoHandler(SimpleHTTPRequestHandler):
    """Serves files without logging and without listings, to requests that name this machine as their host."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | _TYPES
    timeout = SLOWEST_S
    server_version, sys_version = "harness", ""

    def send_head(self) -> Any:
        """Refuse another host's name (what DNS rebinding sends), and paths that no file can have."""
        address: Any = self.server.server_address
        if self.headers.get("Host", "") not in {f"{name}:{address[1]}" for name in _NAMES}:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, "expected this machine as the host")
            return None
        try:
            return super().send_head()
        except ValueError:  # such as a NUL
            self.send_error(HTTPStatus.BAD_REQUEST, "expected the path of a file")
            return None

    def list_directory(self, path: object) -> None:
        """Refuse to list a folder."""
        del path
        self.send_error(HTTPStatus.NOT_FOUND, "expected the path of a file")

    def end_headers(self) -> None:
        """Add the policies to every answer, errors included."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""
