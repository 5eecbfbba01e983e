"""A damaged checkpoint is passed over for the older whole one; without a whole one the stage begins again."""

from __future__ import annotations

import shutil

import pytest

from harness.pipeline import verify
from harness.pipeline.checkpoints import CannotResumeError, drop_broken, seal_checkpoint


class CutError(Exception):
    """Stand in for a kill."""


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def turn_into_folder(path):
    path.unlink()
    path.mkdir()


def link_to_itself(path):
    path.unlink()
    path.symlink_to(path.name)


def link_to_equal_bytes(path):
    other = path.parent.parent.parent / "elsewhere"
    path.rename(other)
    path.symlink_to(other)


DAMAGES = {
    "flip": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "folder": turn_into_folder,
    "loop": link_to_itself,
    "link": link_to_equal_bytes,
    "extra": lambda path: (path.parent / "added").touch(),
}


@pytest.fixture
def cut(runs):
    """Interrupt the first stage after its fourth step; return its folder of checkpoints."""

    def interrupt(context):
        def progress(done, *_):
            if done == 4:
                raise CutError

        from dataclasses import replace

        runs.RUNNERS["count"](replace(context, progress=progress))

    with pytest.raises(CutError):
        runs.run(count=interrupt)
    (folder,) = runs.root.glob("mt/paper-mini/.partial-01-*/checkpoints")
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-3", "checkpoint-4"]
    return folder


@pytest.fixture
def undisturbed(make_runs):
    whole = make_runs("undisturbed")
    whole.run()
    return whole.contents()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["state.json", "checkpoint.json"])
def test_damaged_checkpoint_is_passed_over_for_the_older_one(name, damage, runs, cut, undisturbed):
    DAMAGES[damage](cut / "checkpoint-4" / name)
    diary, _ = runs.run()
    (line,) = diary.list_remarks()
    assert line.startswith("checkpoint-4 ")
    assert line.endswith(": it is passed over")
    assert diary.lines[1:3] == [("resumed", "pretrain"), ("progress", "pretrain", 4, 5, "steps")]
    assert runs.contents() == undisturbed
    assert verify(runs.root) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_stage_without_a_whole_checkpoint_begins_again(damage, runs, cut, undisturbed):
    for checkpoint in cut.iterdir():
        DAMAGES[damage](checkpoint / "state.json")
    diary, _ = runs.run()
    assert len(diary.list_remarks()) == 2
    assert diary.lines[2:4] == [("started", "pretrain"), ("progress", "pretrain", 1, 5, "steps")]
    assert runs.contents() == undisturbed


def test_damaged_folders_of_checkpoints_cost_the_checkpoints_alone(runs, cut, undisturbed):
    shutil.rmtree(cut)
    cut.write_text("a file")
    runs.run()
    assert runs.contents() == undisturbed


def test_line_says_what_is_damaged(cut):
    flip(cut / "checkpoint-3" / "state.json")
    (cut / "checkpoint-4" / "checkpoint.json").unlink()
    (cut / "notes").touch()
    assert drop_broken(cut) == [
        "checkpoint-3 is damaged (state.json has other bytes than were written): it is passed over",
        "checkpoint-4 was not written to its end: it is passed over",
        "notes is no checkpoint: it is passed over",
    ]
    assert list(cut.iterdir()) == []


def test_checkpoints_of_a_group_are_kept(tmp_path):
    inner = tmp_path / "shallow" / "checkpoints" / "checkpoint-1"
    model = tmp_path / "shallow" / "model"
    for folder in (inner, model):
        folder.mkdir(parents=True)
        (folder / "weights").write_text("1")
        seal_checkpoint(folder)
    assert drop_broken(tmp_path) == []
    flip(inner / "weights")
    assert len(drop_broken(tmp_path)) == 1
    assert [path.name for path in (tmp_path / "shallow").iterdir()] == ["model"]


def test_checkpoint_that_cannot_be_resumed_restarts_the_stage(runs, cut, undisturbed):
    def refuse(context):
        if context.resuming:
            raise CannotResumeError("checkpoint-4 cannot be resumed (another version)")
        runs.RUNNERS["count"](context)

    diary, made = runs.run(count=refuse)
    assert diary.list_remarks() == [
        "checkpoint-4 cannot be resumed (another version): the stage begins again"
    ]
    assert made["pretrain"].manifest.resumed is False
    assert runs.contents() == undisturbed


def test_manifest_of_a_checkpoint_is_written_after_its_files_are_on_the_disk(tmp_path, monkeypatch):
    flushed = []
    checkpoint = tmp_path / "checkpoint-1"
    (checkpoint / "deep").mkdir(parents=True)
    for name in ("weights", "deep/state"):
        (checkpoint / name).write_text(name)

    def note(path):
        assert not (checkpoint / "checkpoint.json").exists() or path in (checkpoint, tmp_path)
        flushed.append(path)

    monkeypatch.setattr("harness.pipeline.checkpoints.flush", note)
    seal_checkpoint(checkpoint)
    assert {checkpoint / "weights", checkpoint / "deep/state", checkpoint / "deep"} <= set(flushed)
    assert flushed[-2:] == [checkpoint, tmp_path]


def test_seconds_between_checkpoints_reach_a_runner(runs):
    given = []

    def note(context):
        given.append(context.checkpoint_s)
        runs.RUNNERS["count"](context)

    runs.run(count=note, checkpoint_s=7.0)
    assert given == [7.0, 7.0]
