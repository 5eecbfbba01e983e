"""Read a hub that lies, is silent, is busy, or cuts the connection."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import constants

from benchmarks.common.paths import ROOT
from benchmarks.torture.tally import Tally, run
from harness.data import hub
from harness.languages import language

FILE = "v1.0/mlt-Latn/mlt-Latn_0.parquet"
WHOLE = [["one"], ["two"]]
_SLOW_S = 120.0


def _load_mirror() -> Any:
    """Load the hub on loopback that the tests use."""
    path = ROOT / "tests" / "hub" / "mirror.py"
    spec = spec_from_file_location("mirror", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["mirror"] = module
    spec.loader.exec_module(module)
    return module


def misbehave(share: float) -> list[Tally]:
    """Let the hub misbehave in each way; the text is right, or one line says why there is none."""
    del share
    mirror = _load_mirror()
    tally = Tally("hub that misbehaves, then is in order again")
    for name, fault in _list_faults(mirror.Fault).items():
        with tempfile.TemporaryDirectory() as scratch, _serve(mirror, Path(scratch)) as served:
            served.faults.append(fault)
            began_s, problem = time.monotonic(), _read()
            if time.monotonic() - began_s > _SLOW_S:
                problem = f"took {time.monotonic() - began_s:.0f} s"
            served.faults.clear()
            again = _read(must=True)
            tally.add(problem or (again and f"{name}: {problem or again}"))
    return [tally]


def _read(*, must: bool = False) -> str | None:
    """Read the corpus; return a problem: other text, an error of several lines, or one where none may be."""
    read: list[list[str]] = []
    code, line = run(lambda: read.extend(hub.read_corpus("mt")))
    if code == 70 or (must and code):
        return line
    return "other text was read" if not code and read != WHOLE else None


def _list_faults(fault: Callable[..., Any]) -> dict[str, Any]:
    def flip(content: bytes) -> bytes:
        return content[:40] + bytes([content[40] ^ 1]) + content[41:]

    html = b"<!DOCTYPE html><html>Sign in</html>"
    return {
        "a bit flipped": fault(FILE, change=flip),
        "a bit flipped once": fault(FILE, change=flip, times=2),
        "a page of HTML": fault(FILE, change=lambda _: html),
        "another file": fault(FILE, change=lambda content: b"PAR1" + bytes(len(content) - 8) + b"PAR1"),
        "an empty file": fault(FILE, change=lambda _: b""),
        "half a file": fault(FILE, change=lambda content: content[: len(content) // 2]),
        "twice the file": fault(FILE, change=lambda content: content * 2),
        "a listing of status 500": fault("/api/", status=500),
        "a listing of status 429, twice": fault("/api/", status=429, times=2),
        "a listing of status 503, twice": fault("/api/", status=503, times=2),
        "a file of status 500": fault(FILE, status=500),
        "a file of status 404": fault(FILE, status=404),
        "a file of status 403": fault(FILE, status=403),
        "a silent listing": fault("/api/", delay_s=200.0),
        "a connection cut": fault(FILE, cut_at=200, times=2),
        "a connection cut each time": fault(FILE, cut_at=200),
    }


@contextmanager
def _serve(mirror: Any, scratch: Path) -> Iterator[Any]:
    source = language("mt").corpus
    path = scratch / "hub" / "datasets" / source.hub / FILE
    path.parent.mkdir(parents=True)
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"content": ["one", "two"]}).to_parquet(path)
    with mirror.serve(scratch / "hub", {f"datasets/{source.hub}": source.revision}) as served:
        constants.ENDPOINT = served.endpoint
        constants.HUGGINGFACE_CO_URL_TEMPLATE = served.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        constants.HF_HUB_CACHE = str(scratch / "cache")
        constants.HF_HUB_DISABLE_XET = True
        datasets.config.HF_DATASETS_CACHE = str(scratch / "datasets")
        yield served
