"""The page in headless Chromium: by keyboard, on a phone, without a network; how it is built and served."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from harness.deploy.site import LIBRARIES, TITLES, WEB
from harness.errors import HarnessError, UsageError
from harness.export.predict import Predictor
from harness.export.record import read_export

SHOTS = Path(__file__).parent / "screenshots"
GRID = (36, 64)
ALLOWED_GREY = 6.0


@pytest.fixture(scope="module")
def seen(exported, browse, sentences):
    return browse(exported("tagger"), sentences)


@pytest.mark.slow
def test_page_predicts_like_python_on_200_sentences(seen, exported, sentences):
    model = Predictor(exported("tagger"), "onnx/model.onnx")
    want = [model.predict(one) for one in sentences]
    got = seen[0]["said"]
    assert [one["ids"] for one in got] == [one["ids"] for one in want]
    assert [one["labels"] for one in got] == [one["labels"] for one in want]


@pytest.mark.slow
def test_page_loads_nothing_from_other_hosts(seen):
    page, _ = seen
    hosts = {urlsplit(one).netloc for one in page["requests"] if not one.startswith("data:")}
    assert hosts == {urlsplit(page["url"]).netloc}
    assert page["problems"] == []


@pytest.mark.slow
def test_page_works_by_keyboard_and_shows_size_and_time(seen, exported, sentences):
    page, _ = seen
    assert page["focused"] == "text"
    assert page["next"] == "run"
    assert page["outline"] == "solid"
    said = Predictor(exported("tagger"), "onnx/model.onnx").predict(sentences[0])
    assert [label for _, label in page["shown"]] == [
        label
        for token, label in zip(said["tokens"], said["labels"], strict=True)
        if not token.startswith("##")
    ]
    assert "".join(word for word, _ in page["shown"]) == "".join(sentences[0].split())
    file, size, time = page["facts"]
    assert file == "onnx/model.onnx, fp32"
    size_mb = (exported("tagger") / "onnx/model.onnx").stat().st_size / 1e6
    assert size == f"{size_mb:.2f} MB"
    assert time.endswith(" ms")


@pytest.mark.slow
def test_page_fits_a_phone_and_explains_invalid_text(seen):
    page, _ = seen
    assert all(wide <= int(width) for width, wide in page["widths"].items())
    assert page["empty"] == "Type a sentence."
    assert page["long"].startswith("This text has 602 tokens; the model takes 66.")


@pytest.mark.slow
def test_page_opens_again_without_the_server(seen):
    page, _ = seen
    assert page["refused"]
    assert page["offline"] == page["said"][0]


def grey(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L").resize(GRID, Image.Resampling.BOX), dtype=float)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width"), [("phone", 360), ("wide", 900)])
def test_page_looks_like_the_screenshots(seen, name, width):
    """Compare the mean grey of 36 by 64 fields, with a tolerance for other fonts."""
    path = seen[1] / f"{name}.png"
    assert Image.open(path).size == (width, 640)
    assert grey(path).std() > 5, "it is not blank"
    assert np.abs(grey(path) - grey(SHOTS / f"{name}.png")).mean() < ALLOWED_GREY


def test_site_contains_all_that_it_loads(exported, site):
    folder = site(exported("tagger"), libraries=LIBRARIES, precision="int8")
    listed = json.loads((folder / "site.json").read_text(encoding="utf-8"))
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == {*listed["files"]} - {"./"}
    assert (listed["precision"], listed["title"]) == ("int8", "Parts of speech")
    assert listed["size_bytes"] == (folder / "model" / listed["file"]).stat().st_size
    text = "".join(
        (folder / name).read_text(encoding="utf-8") for name in ("index.html", "app.js", "offline.js")
    )
    assert "//" not in text.replace("// ", ""), "no address of another host"


def test_site_shows_a_second_model(exported, site):
    other = exported("tagger")
    record = read_export(other)
    folder = site(other, libraries=LIBRARIES, precision="int8", compared=(other, record))
    listed = json.loads((folder / "site.json").read_text(encoding="utf-8"))
    assert listed["compared"].keys() == {"file", "precision", "size_bytes"}
    assert (listed["precision"], listed["compared"]["precision"]) == ("int8", record.default)
    assert {f"compared/{name}" for name in ("config.json", listed["compared"]["file"])} < {*listed["files"]}
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == {*listed["files"]} - {"./"}


def test_models_of_two_tasks_are_not_compared(exported, site):
    other = exported("tagger")
    record = read_export(other).model_copy(update={"task": "ner"})
    with pytest.raises(HarnessError, match="demo: expected two models of one task; got pos and ner; name"):
        site(other, libraries=LIBRARIES, compared=(other, record))


def test_unknown_precision_is_refused(exported, site, tmp_path: Path):
    with pytest.raises(UsageError, match="unknown precision of this export 'q4'; there are: fp32, int8"):
        site(exported("tagger"), libraries=LIBRARIES, precision="q4")


@pytest.mark.parametrize(
    ("libraries", "changes", "message"),
    [
        ((), {}, "expected the page's libraries/ort.wasm.min.mjs; got none; run `make web`"),
        (LIBRARIES, {"task": "mlm"}, "expected a model that labels one text; got the task 'mlm'"),
        (
            LIBRARIES,
            {"task": "nli"},
            f"got the task 'nli'; export one of {', '.join(TITLES)}",
        ),
    ],
)
def test_site_that_cannot_be_built_is_refused(exported, site, libraries, changes, message):
    with pytest.raises(HarnessError, match=message):
        site(exported("tagger"), libraries=libraries, changes=changes)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    asked = [sys.executable, "-m", "harness", "demo", *words]
    return subprocess.run(
        asked, capture_output=True, text=True, env=os.environ | {"TERM": "dumb"}, check=False
    )


def test_bad_command_line_is_one_line(exported, tmp_path: Path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        cases = {
            "expected a folder that `harness export` made": run(str(tmp_path)),
            "expected a new or empty folder; got one in use": run(
                str(exported("tagger")), "--out", str(tmp_path / "full")
            ),
        }
        if all((WEB / "node_modules" / name).is_file() for name in LIBRARIES):
            port = str(taken.getsockname()[1])
            cases["expected a free port"] = run(str(exported("tagger")), "--port", port)
    for message, done in cases.items():
        assert done.returncode != 0
        assert message in done.stderr
        assert done.stderr.strip().count("\n") == 0
