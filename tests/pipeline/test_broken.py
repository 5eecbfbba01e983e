"""Damaged files are detected, and their stages run again."""

from __future__ import annotations

import json
import os
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


@pytest.mark.parametrize("name", ["../outside", "deep/../../outside", "/etc/hostname"])
def test_manifest_that_names_a_file_outside_does_not_have_it_read(name, runs, monkeypatch):
    _, made = runs.run()
    folder = made["join"].folder
    (folder.parent / "outside").write_text("1")
    content = json.loads((folder / "manifest.json").read_text())
    content["outputs"][name] = {"sha256": manifest.hash_file(folder.parent / "outside"), "bytes": 1}
    del content["digest"]
    text = manifest._text(content | {"digest": manifest.digest(content)})
    (folder / "manifest.json").write_text(text)
    read = []
    real = manifest.hash_file
    monkeypatch.setattr(manifest, "hash_file", lambda path: read.append(path) or real(path))
    assert [(one.path, one.problem) for one in verify(runs.root)] == [(folder / name, "is missing")]
    assert folder / name not in read
    assert runs.run()[0].list_stages("finished") == ["join"]
    assert (folder.parent / "outside").read_text() == "1"


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


def add_link(folder):
    (folder / "link").symlink_to(folder / "deep" / "total.txt")


def add_folder(folder):
    (folder / "more").mkdir()
    (folder / "more" / "file").write_text("1")


ADDED = {
    "special_tokens_map.json": lambda folder: (folder / "special_tokens_map.json").write_text("{}"),
    "deep/added": lambda folder: (folder / "deep" / "added").write_text("1"),
    "more/": add_folder,
    "link": add_link,
    "pipe": lambda folder: os.mkfifo(folder / "pipe"),
    "empty-folder/": lambda folder: (folder / "empty-folder").mkdir(),
}


@pytest.mark.parametrize("name", ADDED)
def test_what_a_manifest_does_not_list_is_listed_and_not_read(name, runs):
    """A tokenizer's folder to which a file was added used to be read with it."""
    _, made = runs.run()
    folder = made["adapt"].folder
    ADDED[name](folder)
    assert [(one.path, one.problem) for one in verify(runs.root)] == [
        (folder / name, "is not in the manifest")
    ]
    shutil.rmtree(made["join"].folder)
    listed = {}

    def look(context):
        listed["all"] = sorted(path.name for path in context.inputs["student"].rglob("*"))
        runs.RUNNERS["join"](context)

    diary, _ = runs.run(join=look)
    assert listed["all"] == ["deep", "empty", "manifest.json", "total.txt"]
    place = runs.root / ".set-aside" / folder.name / name
    assert diary.list_remarks() == [f"{name} is not in the manifest: it was moved to {place}"]
    assert os.path.lexists(place)
    assert diary.list_stages("finished") == ["join"]
    assert verify(runs.root) == []


def turn_into_link(path):
    other = path.parent / "elsewhere"
    path.rename(other)
    path.symlink_to(other)


def turn_into_pipe(path):
    path.unlink()
    os.mkfifo(path)


def turn_into_folder(path):
    path.unlink()
    path.mkdir()


def turn_into_loop(path):
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize("damage", [turn_into_link, turn_into_pipe, turn_into_folder, turn_into_loop])
@pytest.mark.parametrize("name", ["manifest.json", "deep/total.txt"])
def test_odd_file_costs_its_stage_and_no_other(name, damage, runs):
    _, made = runs.run()
    damage(made["adapt"].folder / name)
    assert made["adapt"].folder / name in [finding.path for finding in verify(runs.root)]
    assert runs.run()[0].list_stages("finished") == ["adapt"]
    assert verify(runs.root) == []


def replace_by_file(folder):
    shutil.rmtree(folder)
    folder.write_text("")


def replace_by_link(folder):
    other = folder.parent / "kept"
    folder.rename(other)
    folder.symlink_to(other)


def replace_by_loop(folder):
    shutil.rmtree(folder)
    folder.symlink_to(folder.name)


@pytest.mark.parametrize("damage", [replace_by_file, replace_by_link, replace_by_loop])
def test_stage_folder_that_was_replaced_is_listed_and_made_again(damage, runs):
    _, made = runs.run()
    damage(made["adapt"].folder)
    (finding,) = verify(runs.root)
    assert (finding.path, finding.problem) == (made["adapt"].folder, "is no folder: a stage was there")
    assert runs.run()[0].list_stages("finished") == ["adapt"]
    assert verify(runs.root) == []


@pytest.mark.parametrize("damage", [replace_by_file, replace_by_link])
def test_unfinished_stage_folder_that_was_replaced_is_made_again(damage, runs):
    def stop(context):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.run(join=stop)
    (partial,) = runs.root.glob("mt/paper-mini/.partial-*")
    damage(partial)
    runs.run()
    assert verify(runs.root) == []


def test_manifest_with_swapped_lines_is_detected(runs):
    _, made = runs.run()
    path = made["adapt"].folder / "manifest.json"
    lines = path.read_text().splitlines(keepends=True)
    first, second = (lines.index(line) for line in lines if line.startswith(('  "stage"', '  "key"')))
    lines[first], lines[second] = lines[second], lines[first]
    path.write_text("".join(lines))
    (finding,) = verify(runs.root)
    assert finding.problem == "manifest.json is not as it was written"
    assert runs.run()[0].list_stages("finished") == ["adapt"]


def test_file_that_cannot_be_read_costs_its_stage(runs, monkeypatch):
    _, made = runs.run()
    path = made["adapt"].folder / "deep" / "total.txt"
    real = manifest.hash_file

    def deny(read):
        if read == path:
            raise PermissionError(13, "Permission denied", str(read))
        return real(read)

    monkeypatch.setattr(manifest, "hash_file", deny)
    (finding,) = verify(runs.root)
    assert (finding.path, finding.problem) == (path, "is not readable (Permission denied)")


def test_link_left_by_a_runner_is_refused(runs):
    def leave(context):
        (context.out / "link").symlink_to("/etc/hostname")

    with pytest.raises(ValueError, match="expected files as the outputs of a stage; got something else"):
        runs.run(join=leave)
