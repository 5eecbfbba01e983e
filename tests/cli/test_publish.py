"""Publishing a run copies its outputs to the top of its folder."""

from __future__ import annotations

import errno
import shutil

import pytest

from harness.api.publish import mirror, publish_model, publish_run
from harness.config.load import load_recipe, load_scale
from harness.errors import HarnessError
from harness.pipeline.store import Store
from harness.plans.run import plan_run


def test_publishing_a_missing_run_is_refused(tmp_path, write_scale, write_recipe):
    planned = plan_run("mt", load_recipe(write_recipe(tmp_path)), load_scale(write_scale(tmp_path)))
    for publish in (
        lambda: publish_run(planned, Store(tmp_path / "runs"), tmp_path / "out"),
        lambda: publish_model(planned.plan, Store(tmp_path / "runs"), tmp_path / "out"),
    ):
        with pytest.raises(
            HarnessError, match=r"publish: expected the finished stage \w+ in .*runs; got none; run it"
        ):
            publish()
    assert not (tmp_path / "out").exists()


def test_mirror_copies_all_but_the_manifest(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep").mkdir(parents=True)
    for name in ("a.txt", "deep/b.txt", "manifest.json"):
        (source / name).write_text(name)
    mirror(source, target)
    assert {path.name for path in target.rglob("*.*")} == {"a.txt", "b.txt"}


def test_two_processes_may_publish_at_once(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "model.onnx").write_text("weights")
    copy, others = shutil.copyfile, [lambda: mirror(source, target)]

    def copy_while_another_publishes(path, half):
        copy(path, half)
        if others:
            others.pop()()

    monkeypatch.setattr(shutil, "copyfile", copy_while_another_publishes)
    mirror(source, target)
    assert not others
    assert [path.name for path in target.iterdir()] == ["model.onnx"]


def test_folder_in_the_place_of_a_published_file_is_named(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "report.html").write_text("page")
    (target / "report.html").mkdir(parents=True)
    with pytest.raises(HarnessError) as caught:
        mirror(source, target)
    assert str(caught.value) == (
        f"{target / 'report.html'}: expected the place of a file of the run; got a folder; move it away and "
        "run again"
    )
    assert [path.name for path in target.iterdir()] == ["report.html"]


def test_full_disk_is_named_by_the_folder_that_is_written(tmp_path, monkeypatch):
    """The system's error names the copy's source."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "model.onnx").write_text("weights")

    def fill(path, half):
        half.write_text("ha")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(shutil, "copyfile", fill)
    with pytest.raises(HarnessError, match=rf"^publish: the disk of {target} is full; free some space"):
        mirror(source, target)
    assert list(target.iterdir()) == []
