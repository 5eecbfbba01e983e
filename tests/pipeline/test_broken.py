"""Damaged files are detected, and their stages run again."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.pipeline import manifest, verify
from harness.pipeline.store import Store


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=st.integers(0, 5), place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_change_of_any_byte_is_detected_and_repaired(runs, file, place, bits):
    runs.run()
    before = runs.contents()
    path = [path for path in runs.files() if path.stat().st_size][file]
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= bits
    path.write_bytes(content)
    assert [finding.path for finding in verify(runs.root)] == [path]
    diary, _ = runs.run()
    assert diary.list_stages("finished") == [path.relative_to(runs.root).parts[2].split("-")[1]]
    assert verify(runs.root) == []
    assert runs.contents() == before


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "manifest.json is not readable"),
        (b"{", "manifest.json is not readable"),
        (b"[]", "manifest.json is not readable"),
        (b"null", "manifest.json is not readable"),
        (b"{}", "manifest.json is not readable"),
        (b'"\xff"', "manifest.json is not readable"),
        (b"[" * 100_000, "manifest.json is not readable"),
        (b'{"digest": "x", "schema_version": 1}', "manifest.json is not as it was written"),
        (b'{"digest": "x", "schema_version": 9}', "manifest.json has schema 9, expected 1"),
        (None, "manifest.json is missing"),
    ],
)
def test_unreadable_manifest_is_detected_and_repaired(content, problem, runs):
    _, made = runs.run()
    path = made["adapt"].folder / "manifest.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    (finding,) = verify(runs.root)
    assert (finding.path, finding.problem) == (path, problem)
    diary, _ = runs.run()
    assert diary.list_stages("finished") == ["adapt"]
    assert verify(runs.root) == []


def test_truncated_manifest_is_detected(runs):
    _, made = runs.run()
    path = made["join"].folder / "manifest.json"
    text = path.read_text()
    for length in range(0, len(text), 37):
        path.write_text(text[:length])
        assert len(verify(runs.root)) == 1


def test_manifest_without_a_key_is_detected(runs):
    _, made = runs.run()
    folder = made["join"].folder
    content = json.loads((folder / "manifest.json").read_text())
    del content["digest"], content["outputs"]
    text = manifest._text(content | {"digest": manifest.digest(content)})
    (folder / "manifest.json").write_text(text)
    (finding,) = verify(runs.root)
    assert finding.problem == "manifest.json lacks or has a wrong outputs"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_text(""), "has 0 bytes, 300 were written"),
        (
            lambda path: path.write_text(path.read_text().replace("\n", " ")),
            "has other bytes than were written",
        ),
    ],
)
def test_damage_of_an_output_is_described(damage, problem, runs):
    _, made = runs.run(runs.plan(seed=7))
    path = made["adapt"].folder / "deep" / "total.txt"
    size = path.stat().st_size
    damage(path)
    (finding,) = verify(runs.root)
    assert (finding.path, finding.problem) == (path, problem.replace("300", str(size)))


def test_stage_under_another_name_is_detected_and_repaired(runs):
    _, made = runs.run()
    wrong = made["adapt"].folder
    shutil.rmtree(wrong)
    shutil.copytree(made["pretrain"].folder, wrong)
    (finding,) = verify(runs.root)
    assert finding.path == wrong
    assert finding.problem == f"contains the stage pretrain with the key {runs.plan().keys['pretrain']}"
    assert runs.run()[0].list_stages("finished") == ["adapt"]
    assert verify(runs.root) == []


def test_broken_stage_of_another_run_is_repaired_in_place(runs):
    _, made = runs.run()
    (made["pretrain"].folder / "empty").unlink()
    diary, again = runs.run(folder="sk/paper-mini")
    assert diary.list_stages("finished") == ["pretrain"]
    assert again["pretrain"].folder == made["pretrain"].folder
    assert verify(runs.root) == []


def test_empty_or_missing_runs_folder_has_no_damage(tmp_path):
    assert verify(tmp_path / "nowhere") == verify(tmp_path) == []
    assert Store(tmp_path / "nowhere").find("0" * 12) is None
