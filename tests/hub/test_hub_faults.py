"""A hub that misbehaves: other bytes, pages of HTML, silence, a full hour, a cut connection."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub import constants

from harness import downloads
from harness.data import hub as reader
from harness.errors import HarnessError
from harness.languages import Source, language
from harness.models.loading.hub import locate_pinned

HTML = b"<!DOCTYPE html><html><body>Sign in</body></html>"
FILE = "v1.0/mlt-Latn/mlt-Latn_0.parquet"


@pytest.fixture
def mirror(hub, tmp_path, monkeypatch) -> Any:
    """Let this process read the served hub, with an empty cache."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setattr(downloads, "_WAITS_S", (0.01, 0.02, 0.03))
    return hub


@pytest.fixture
def corpus(mirror) -> Source:
    """A corpus of two documents, served under the commit that the table pins."""
    source = language("mt").corpus
    path = mirror.root / "datasets" / source.hub / FILE
    path.parent.mkdir(parents=True)
    datasets.Dataset.from_dict({"content": ["wieħed", "tnejn"]}).to_parquet(path)
    mirror.commits[f"datasets/{source.hub}"] = source.revision
    return source


def read() -> list[list[str]]:
    return list(reader.read_corpus("mt"))


WHOLE = [["wieħed"], ["tnejn"]]


def flip(content: bytes) -> bytes:
    return content[:40] + bytes([content[40] ^ 1]) + content[41:]


def add_fault(mirror: Any, part: str, **given: Any) -> None:
    mirror.faults.append(sys.modules["mirror"].Fault(part, **given))


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "a byte flipped": flip,
    "HTML": lambda _: HTML,
    "another file of the same size": lambda content: b"PAR1" + bytes(len(content) - 8) + b"PAR1",
    "nothing": lambda _: b"",
    "a half": lambda content: content[: len(content) // 2],
}


@pytest.mark.parametrize("name", CHANGES)
def test_other_bytes_than_announced_are_refused_and_not_kept(name, mirror, corpus, tmp_path):
    add_fault(mirror, FILE, change=CHANGES[name])
    with pytest.raises(HarnessError) as caught:
        read()
    assert re.fullmatch(rf"hub: expected {FILE} of {corpus.hub}@\w+[^\n]*", str(caught.value))
    blobs = [path for path in (tmp_path / "cache").rglob("blobs/*") if path.stat().st_size]
    assert [path for path in blobs if not path.name.endswith(".incomplete")] == []
    mirror.faults.clear()
    assert read() == WHOLE


def test_other_bytes_that_come_once_are_fetched_again(mirror, corpus):
    add_fault(mirror, FILE, change=flip, times=2)  # the question for the hash, and the file
    assert read() == WHOLE


def test_bytes_that_changed_in_the_cache_are_fetched_again(mirror, corpus, tmp_path):
    assert read() == WHOLE
    (blob,) = [path.resolve() for path in (tmp_path / "cache").rglob("*.parquet")]
    blob.write_bytes(flip(blob.read_bytes()))
    assert read() == WHOLE


def test_page_with_a_hash_of_its_own_is_refused(mirror, corpus):
    path = mirror.root / "datasets" / corpus.hub / FILE
    path.write_bytes(HTML)
    with pytest.raises(HarnessError, match=r"got .*parquet that is no parquet file; try again later"):
        read()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_hub_is_asked_again(status, mirror, corpus):
    add_fault(mirror, "/api/", status=status, times=2)
    assert read() == WHOLE
    assert sum("/api/" in one for one in mirror.requests) == 3


def test_hub_that_stays_broken_is_one_line(mirror, corpus):
    add_fault(mirror, "/api/", status=500)
    with pytest.raises(
        HarnessError, match=r"expected the data set .*; got the HTTP status 500, and no cached"
    ):
        read()
    assert sum("/api/" in one for one in mirror.requests) == 4


def test_silent_hub_ends_within_the_time_limit(mirror, corpus, monkeypatch):
    monkeypatch.setattr(reader, "ANSWER_S", 0.2)
    add_fault(mirror, "/api/", delay_s=20.0)
    began_s = time.monotonic()
    with pytest.raises(HarnessError, match=r"got no answer in time, and no cached"):
        read()
    assert time.monotonic() - began_s < 15.0


def test_cut_connection_resumes_where_it_was(mirror, corpus, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)
    add_fault(mirror, FILE, cut_at=300, times=2)  # the question for the hash, and the file
    assert read() == WHOLE
    assert mirror.ranges[-1] == "bytes=300-"


PROGRAM = """
import sys
from huggingface_hub import constants
from harness.downloads import resume_download
constants.DOWNLOAD_CHUNK_SIZE = 100
resume_download(sys.argv[1], sys.argv[2], revision=sys.argv[3], kind="dataset")
"""


def test_download_of_a_killed_process_resumes_where_it_was(mirror, corpus, tmp_path):
    add_fault(mirror, FILE, cut_at=300)  # so that it does not end for some seconds
    cache = tmp_path / "cache"
    environment = os.environ | {"HF_ENDPOINT": mirror.endpoint, "HF_HUB_CACHE": str(cache)}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", PROGRAM, corpus.hub, FILE, corpus.revision]
    killed = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while not any(path.stat().st_size >= 300 for path in cache.rglob("*.incomplete")):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    (part,) = cache.rglob("*.incomplete")
    kept = part.stat().st_size
    mirror.faults.clear()
    mirror.ranges.clear()
    assert read() == WHOLE
    assert mirror.ranges == [f"bytes={kept}-"]
    assert not list(cache.rglob("*.incomplete"))


def test_part_that_is_no_beginning_of_the_file_is_dropped(mirror, corpus, tmp_path):
    assert read() == WHOLE
    (blob,) = [path.resolve() for path in (tmp_path / "cache").rglob("*.parquet")]
    shutil.rmtree(tmp_path / "cache" / f"datasets--{corpus.hub.replace('/', '--')}" / "snapshots")
    part = blob.with_name(f"{blob.name}.harness.incomplete")
    for size in (100, 10_000):
        blob.unlink()
        part.write_bytes(bytes(size))
        assert read() == WHOLE
        shutil.rmtree(tmp_path / "cache" / f"datasets--{corpus.hub.replace('/', '--')}" / "snapshots")


def test_name_of_a_file_that_is_no_hash_is_left_to_the_library(mirror, corpus, monkeypatch, tmp_path):
    """Such a name could lead out of the cache."""

    class Announced:
        etag, size = "../../x", 5

    monkeypatch.setattr(downloads, "get_hf_file_metadata", lambda *_, **__: Announced)
    monkeypatch.setattr(downloads, "http_get", lambda *_, **__: pytest.fail("it was fetched"))
    assert read() == WHOLE


def test_model_with_other_bytes_is_refused_and_not_kept(mirror, write_teacher, tmp_path):
    write_teacher(mirror.root / "models" / "org" / "model")
    add_fault(mirror, "model.safetensors", change=flip)
    with pytest.raises(
        HarnessError, match=r"^hub: expected the model org/model as it was announced; got model"
    ):
        locate_pinned("org/model")
    mirror.faults.clear()
    _, folder = locate_pinned("org/model")
    blob = (folder / "model.safetensors").resolve()
    blob.write_bytes(flip(blob.read_bytes()))
    _, again = locate_pinned("org/model")
    source = mirror.root / "models" / "org" / "model"
    assert (again / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()


def test_wait_that_the_hub_asks_for_is_bounded(monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(downloads.time, "sleep", waits.append)

    class BusyError(Exception):
        response = type("Response", (), {"status_code": 429, "headers": {"Retry-After": "900"}})()

    def ask() -> None:
        raise BusyError

    with pytest.raises(BusyError):
        downloads.ask_hub(ask)
    assert waits == [30.0, 30.0, 30.0]


def test_error_that_cannot_pass_is_not_tried_again():
    asked = []

    def ask() -> None:
        asked.append(1)
        raise PermissionError

    with pytest.raises(PermissionError):
        downloads.ask_hub(ask)
    assert len(asked) == 1
