"""Files of the hub: within time limits, compared with the hash that the hub announced, or not kept."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # it is exported lazily

from harness.errors import HarnessError

ANSWER_S = 10.0
"""How long the hub may take to answer a request for a listing."""
_WAITS_S = (1.0, 2.0, 4.0)
"""How long to wait before each further try."""
_LONGEST_WAIT_S = 30.0
"""The longest wait that a hub may ask for."""
_TOO_MANY, _SERVER = 429, 500
_FETCHES = 3
"""How often a file is fetched whose bytes are not those that were announced."""
_HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
"""What the hub names a file by: git's SHA-1 of a small one, the SHA-256 of a large one."""
_PIECE_BYTES = 1 << 20
_START_BYTES = 512

_ANSWERS: tuple[tuple[type[Exception], str], ...] = (
    (GatedRepoError, "a repository whose licence has to be accepted first"),
    (RepositoryNotFoundError, "no such repository, or one that needs a login"),
    (RevisionNotFoundError, "no such revision"),
    (LocalEntryNotFoundError, "no answer, and no copy in the cache"),
    (EntryNotFoundError, "no such file"),
    (OfflineModeIsEnabled, "no copy in the cache, and HF_HUB_OFFLINE is set"),
)
"""Classes of the hub's client, a subclass before its base, and what they mean."""

_Answer = TypeVar("_Answer")


def ask_hub(request: Callable[[], _Answer]) -> _Answer:
    """Return the answer to a request; try again where the hub is busy (429), broken (5xx) or too slow.

    Raises:
        Exception: that of the last try, or at once where another try cannot help.
    """
    for wait_s in _WAITS_S:
        try:
            return request()
        except Exception as error:  # the class of a transport fault depends on the hub library's version
            if not _may_pass(error):
                raise
            time.sleep(max(wait_s, min(_read_wait(error), _LONGEST_WAIT_S)))
    return request()


def _may_pass(error: Exception) -> bool:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return status == _TOO_MANY or status >= _SERVER
    return "Timeout" in type(error).__name__


def _read_wait(error: Exception) -> float:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    text = str(headers.get("Retry-After", ""))
    return float(text) if re.fullmatch(r"\d{1,6}", text) else 0.0


def describe_fault(error: Exception) -> str:
    """Say in words what came of a request to the hub: what it answered, or why there was no answer."""
    for kind, words in _ANSWERS:
        if isinstance(error, kind):
            return words
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return f"the HTTP status {status}"
    name = type(error).__name__
    if "Timeout" in name:
        return "no answer in time"
    return "no connection" if "Connect" in name or isinstance(error, ConnectionError) else name


def fetch_checked(fetch: Callable[[], Path], where: str, advice: str) -> Path:
    """Fetch a file or a folder of the cache, and compare its bytes with the hashes that the hub announced.

    Invariants: a file with other bytes never stays in the cache.

    Args:
        fetch: fetches what is not in the cache, and returns the place in the cache.
        where: the file and its repository, for the message.
        advice: what to do where the hub goes on sending other bytes.

    Raises:
        HarnessError: three times other bytes than announced came.
    """
    problem = ""
    for _ in range(_FETCHES):
        try:
            place = ask_hub(fetch)
        except Exception:
            if problem:  # the bad file was removed, and the hub does not answer any more
                break
            raise
        problems = discard_damaged(place)
        if not problems:
            return place
        problem = problems[0]
    raise HarnessError(f"hub: expected {where} as it was announced; got {problem}; {advice}")


def resume_download(repo_id: str, name: str, *, revision: str, kind: str = "model") -> None:
    """Fetch the bytes of a file into the hub's cache, after those that an earlier process has left there.

    The hub's library, called next, finds them whole; by itself it begins a file again.

    Args:
        repo_id: the repository, as ``organisation/name``.
        name: the file.
        revision: the commit.
        kind: of the repository, ``model`` or ``dataset``.
    """
    cached = try_to_load_from_cache(repo_id, name, revision=revision, repo_type=kind)
    if constants.HF_HUB_OFFLINE or cached is not None:
        return
    url = hf_hub_url(repo_id, name, repo_type=kind, revision=revision)
    announced = get_hf_file_metadata(url, timeout=ANSWER_S)
    etag = announced.etag or ""
    if announced.size is None or not _HASH.fullmatch(etag):
        return
    store = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type=kind) / "blobs"
    store.mkdir(parents=True, exist_ok=True)
    blob, part = store / etag, store / f"{etag}.harness.incomplete"
    # Where another process fetches the file, or the disk has no locks, the library fetches its own copy.
    with suppress(Timeout, NotImplementedError), FileLock(f"{part}.lock", blocking=False):
        with part.open("ab", buffering=0) as file:
            if file.tell() > announced.size:
                file.truncate(0)
            headers = build_hf_headers()
            http_get(url, file, resume_size=file.tell(), expected_size=announced.size, headers=headers)
        part.replace(blob)


def discard_damaged(place: Path) -> list[str]:
    """Remove files of the cache whose bytes are not as announced; return a line for each.

    Args:
        place: a file, or a folder of files, in the cache. A file that is no link into its store has no
            announced hash; it is left alone.
    """
    files = [place] if not place.is_dir() else sorted(place.rglob("*"))
    return [problem for path in files if path.is_symlink() for problem in _discard(path)]


def _discard(path: Path) -> Iterator[str]:
    blob = path.resolve()
    problem = _find_problem(path.name, blob) if blob.is_file() else "nothing"
    if problem is not None:
        blob.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        yield f"{path.name} {problem}"


def _find_problem(name: str, blob: Path) -> str | None:
    """Return how a file of the cache differs from its own name, which is the announced hash, or its kind."""
    size = blob.stat().st_size
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        digest: Any = hashlib.sha256()
    elif re.fullmatch(r"[0-9a-f]{40}", blob.name):
        digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)  # as git names a file
    else:
        return "without an announced hash"
    with blob.open("rb") as file:
        start = file.read(_START_BYTES)
        digest.update(start)
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    if digest.hexdigest() != blob.name:
        return f"with other bytes ({size:,}) than the hash {blob.name[:12]}…"
    return _find_wrong_kind(name, start)


def _find_wrong_kind(name: str, start: bytes) -> str | None:
    """Return what a file is where it is not of the kind that its name says."""
    text = start.lstrip().lower()
    if name.endswith(".parquet") and not start.startswith(b"PAR1"):
        return "that is no parquet file"
    if text.startswith((b"<!doctype html", b"<html")):
        return "that is a page of HTML"
    if name.endswith(".json") and not text.startswith((b"{", b"[")):
        return "that is no JSON"
    return None
