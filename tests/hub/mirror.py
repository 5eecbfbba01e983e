"""A model hub on loopback: the paths, headers and listings of ``huggingface_hub``, over files on disk.

Repositories lie under one folder, as ``<root>/{models,datasets}/<organisation>/<name>/<files>``. Each is
served under one commit: the one that the project's tables pin, or one made of the repository's name. Faults
(a slow answer, an error status, other bytes than announced) can be set for chosen requests, so that readers
are tried against a hub that misbehaves.

As a command it fills itself from a data folder and a model folder and runs a command against itself::

    python tests/hub/mirror.py --data DATA --teacher MODEL --root DIR -- harness reproduce sl --scale laptop
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

CHUNK_BYTES = 1 << 20


@dataclass
class Fault:
    """What goes wrong with the requests whose path contains `part`.

    Attributes:
        part: a piece of the path; every request that contains it is touched.
        status: the status to answer instead, as 500 or 429.
        delay_s: how long to wait before answering.
        change: what to do with the bytes before they are sent; the announced hash stays.
        cut_at: how many bytes to send before the connection is closed.
        times: how many requests are touched; none: all of them.
    """

    part: str
    status: int | None = None
    delay_s: float = 0.0
    change: Callable[[bytes], bytes] | None = None
    cut_at: int | None = None
    times: int | None = None

    def take(self, path: str) -> bool:
        """Whether this request is touched; counts it."""
        if self.part not in path or self.times == 0:
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass(frozen=True)
class Repository:
    """Files of one model or data set, and the commit and names under which they are served."""

    kind: str
    name: str
    folder: Path
    commit: str

    def files(self) -> list[str]:
        """List the repository's files by their path in it."""
        return sorted(
            path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()
        )

    def entry(self, name: str) -> dict[str, object]:
        """Describe a file as the hub's tree listing does."""
        path = self.folder / name
        digest, size = sha256(path, path.stat().st_mtime_ns), path.stat().st_size
        return {"type": "file", "path": name, "size": size, "oid": hash_as_git(path)} | (
            {"lfs": {"oid": digest, "size": size, "pointerSize": 134}} if is_large(name) else {}
        )


def is_large(name: str) -> bool:
    """Whether the hub keeps files of this name in large-file storage, named by their SHA-256."""
    return name.endswith((".parquet", ".safetensors", ".bin", "tokenizer.json"))


@cache
def sha256(path: Path, changed_ns: int) -> str:
    """Hash a file; a file that changed is hashed again."""
    del changed_ns
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_as_git(path: Path) -> str:
    """Hash a small file as git does, which names it so."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Mirror:
    """A running server.

    Attributes:
        root: the folder of the repositories.
        commits: the commit of a repository by ``kind/organisation/name``.
        faults: what goes wrong.
        requests: every request so far, as ``GET /path``.
        ranges: the header ``Range`` of those that have it.
    """

    root: Path
    commits: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    endpoint: str = ""

    def find(self, kind: str, name: str) -> Repository | None:
        """Find a repository by kind and name."""
        folder = self.root / kind / name
        commit = self.commits.get(f"{kind}/{name}") or hashlib.sha1(name.encode()).hexdigest()
        return Repository(kind, name, folder, commit) if folder.is_dir() else None


class Handler(BaseHTTPRequestHandler):
    """Answer one request for a listing or a file."""

    protocol_version = "HTTP/1.1"
    mirror: Mirror

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def do_GET(self) -> None:
        self._serve(body=True)

    def do_POST(self) -> None:
        self._serve(body=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        del format, args

    def _serve(self, *, body: bool) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        length = int(self.headers.get("Content-Length") or 0)
        asked = parse_qs(self.rfile.read(length).decode()) if length else {}
        self.mirror.requests.append(f"{self.command} {path}")
        if "Range" in self.headers:
            self.mirror.ranges.append(self.headers["Range"])
        change = None
        self.cut_at: int | None = None
        for fault in self.mirror.faults:
            if fault.take(path):
                time.sleep(fault.delay_s)
                if fault.status is not None:
                    return self._error(fault.status, "the mirror was asked to fail")
                change, self.cut_at = fault.change, fault.cut_at
        parts = [part for part in path.split("/") if part]
        if parts[:1] == ["api"] and len(parts) >= 4 and parts[1] in ("models", "datasets"):
            return self._api(parts[1], parts[2:], asked, body=body)
        kind, rest = ("datasets", parts[1:]) if parts[:1] == ["datasets"] else ("models", parts)
        if len(rest) >= 5 and rest[2] == "resolve":
            repository = self.mirror.find(kind, "/".join(rest[:2]))
            revision, name = _split_revision(rest[3:])
            return self._file(repository, revision, name, change, body=body)
        return self._error(404, "no such path")

    def _api(self, kind: str, parts: list[str], asked: Mapping[str, list[str]], *, body: bool) -> None:
        repository = self.mirror.find(kind, "/".join(parts[:2]))
        if repository is None:
            return self._error(401, "Repository Not Found", code="RepoNotFound")
        action = parts[2] if len(parts) > 2 else "revision"
        if action == "revision":
            files = [{"rfilename": name} for name in repository.files()]
            value: object = {
                "id": repository.name,
                "sha": repository.commit,
                "siblings": files,
                "private": False,
                "gated": False,
                "disabled": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
            }
        elif action == "tree":
            folder = "/".join(_split_revision(parts[3:])[1].split("/"))
            value = [
                repository.entry(name)
                for name in repository.files()
                if not folder or name.startswith(f"{folder}/")
            ]
        elif action == "paths-info":
            there = set(repository.files())
            value = [repository.entry(name) for name in asked.get("paths", []) if name in there]
        else:
            return self._error(404, "no such listing")
        return self._send(json.dumps(value).encode(), {"Content-Type": "application/json"}, body=body)

    def _file(
        self,
        repository: Repository | None,
        revision: str,
        name: str,
        change: Callable[[bytes], bytes] | None,
        *,
        body: bool,
    ) -> None:
        if repository is None:
            return self._error(401, "Repository Not Found", code="RepoNotFound")
        path = repository.folder / name
        headers = {"X-Repo-Commit": repository.commit}
        if name not in repository.files():
            return self._error(404, "Entry not found", code="EntryNotFound", headers=headers)
        if len(revision) == 40 and revision != repository.commit:
            return self._error(404, "Revision not found", code="RevisionNotFound")
        digest = sha256(path, path.stat().st_mtime_ns)
        etag = digest if is_large(name) else hash_as_git(path)
        headers |= {"ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if is_large(name):
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(path.stat().st_size)}
        content = path.read_bytes()
        if change is not None:
            content = change(content)
        start = self.headers.get("Range", "").removeprefix("bytes=").partition("-")[0]
        if start.isdecimal() and int(start) < len(content):
            last = len(content) - 1
            headers["Content-Range"] = f"bytes {start}-{last}/{len(content)}"
            return self._send(content[int(start) :], headers, body=body, status=206)
        return self._send(content, headers, body=body)

    def _send(self, content: bytes, headers: Mapping[str, str], *, body: bool, status: int = 200) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body and self.cut_at is not None:
            self.wfile.write(content[: self.cut_at])
            self.close_connection = True
        elif body:
            for start in range(0, len(content), CHUNK_BYTES):
                self.wfile.write(content[start : start + CHUNK_BYTES])

    def _error(
        self, status: int, message: str, *, code: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        fields = dict(headers or {}) | {"X-Error-Message": message}
        self._send(
            json.dumps({"error": message}).encode(),
            fields | ({"X-Error-Code": code} if code else {}),
            body=self.command != "HEAD",
            status=status,
        )


def _split_revision(parts: list[str]) -> tuple[str, str]:
    """Split ``refs/convert/parquet/…`` or ``main/…`` into the revision and the path of the file."""
    size = 3 if parts[:1] == ["refs"] else 1
    return "/".join(parts[:size]), "/".join(parts[size:])


@contextlib.contextmanager
def serve(root: Path, commits: Mapping[str, str] | None = None) -> Iterator[Mirror]:
    """Serve the repositories of a folder on a free port of loopback until the block ends."""
    mirror = Mirror(root, dict(commits or {}))
    handler = type("MirrorHandler", (Handler,), {"mirror": mirror})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    mirror.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield mirror
    finally:
        server.shutdown()
        server.server_close()


def main() -> int:
    """Fill a mirror from a data folder and a model folder, and run a command against it."""
    from fill import fill_datasets, fill_teacher

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a data folder")
    parser.add_argument("--teacher", type=Path, required=True, help="the folder of multilingual-e5-small")
    parser.add_argument("--root", type=Path, required=True, help="where the repositories are laid out")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- command to run")
    asked = parser.parse_args()
    commits = fill_teacher(asked.teacher, asked.root) | fill_datasets(asked.data, asked.root)
    with serve(asked.root, commits) as mirror:
        environment = os.environ | {
            "HF_ENDPOINT": mirror.endpoint,
            "HF_HOME": str(asked.root / "home"),
            "HF_HUB_DISABLE_XET": "1",
        }
        command = asked.command[1:] if asked.command[:1] == ["--"] else asked.command
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
