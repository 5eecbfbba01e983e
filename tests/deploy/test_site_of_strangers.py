"""An export of a stranger given to `harness demo`: nothing is written or copied from outside its folder."""

from __future__ import annotations

import json
import re

import pytest

from harness.deploy.site import LIBRARIES, PAGE, write_site
from harness.errors import HarnessError
from harness.export.record import read_export

ROW = {"precision": "fp32", "file": "onnx/model.onnx", "size_bytes": 3}
RECORD = {"made_by": "harness export", "task": "pos", "language": "mt", "default": "fp32", "files": [ROW]}


@pytest.fixture
def export(tmp_path):
    """Return a folder that looks like an export, and writes its page into another."""
    folder = tmp_path / "export"
    (folder / "onnx").mkdir(parents=True)
    for name in ("onnx/model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    write_record(folder)
    (tmp_path / "secret.txt").write_text("secret")
    return folder


def write_record(folder, **changes):
    (folder / "export.json").write_text(json.dumps(RECORD | changes))


def make_page(folder):
    """Write the page, with libraries that are empty files."""
    web = folder.parent / "web"
    for name in (*(f"page/{one}" for one in PAGE), *(f"node_modules/{one}" for one in LIBRARIES)):
        (web / name).parent.mkdir(parents=True, exist_ok=True)
        (web / name).touch()
    return write_site(folder, read_export(folder), folder.parent / "out" / "page", web=web)


def test_ordinary_export_is_written(export):
    page = make_page(export)
    assert (page / "model" / "onnx" / "model.onnx").read_text() == "{}"


@pytest.mark.parametrize(
    "name", ["../secret.txt", "../../.bashrc", "/etc/passwd", "onnx/../../secret.txt", "C:\\x", "a\0b", ""]
)
def test_file_outside_of_the_export_is_refused(name, export):
    write_record(export, files=[ROW | {"file": name}])
    with pytest.raises(
        HarnessError, match=r"export\.json: expected the record of an export; got .* at files"
    ):
        make_page(export)
    assert not (export.parent / "out").exists()


@pytest.mark.parametrize("name", ["config.json", "onnx/model.onnx", "onnx"])
def test_link_out_of_the_export_is_refused(name, export):
    path = export / name
    path.rename(export.parent / "elsewhere")
    path.symlink_to(export.parent / "elsewhere")
    with pytest.raises(
        HarnessError, match=r"^demo: expected files of the export .* a link out of it; export"
    ):
        make_page(export)
    assert not (export.parent / "out").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"files": 3},
        {"files": [3]},
        {"files": [{"precision": "fp32", "file": "x"}]},
        {"files": [ROW | {"file": 3}]},
        {"files": [ROW | {"precision": None}]},
        {"files": [ROW | {"size_bytes": "large"}]},
        {"task": None},
        {"task": ["pos"]},
        {"language": 3},
        {"default": {}},
    ],
    ids=str,
)
def test_odd_record_is_one_line(changes, export):
    write_record(export, **changes)
    with pytest.raises(HarnessError) as caught:
        make_page(export)
    assert re.fullmatch(
        r"[^\n]*export\.json: expected the record of an export; got [^\n]*", str(caught.value)
    )


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"made_by": "harness export"}'])
def test_record_that_is_none_is_one_line(text, export):
    (export / "export.json").write_text(text)
    with pytest.raises(
        HarnessError, match=r"expected (a folder that `harness export` made|the record of an)"
    ):
        make_page(export)
