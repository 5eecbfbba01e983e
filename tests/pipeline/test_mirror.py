"""A mirror in a bucket: other machines fetch finished stages; what is wrong with it loses nothing."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import suppress

import pytest

from harness.errors import HarnessError
from harness.pipeline import manifest, verify
from harness.pipeline.mirror import VARIABLE

LINE = r"^mirror \S+: expected a bucket that can be read and written; got '{}'; correct it, and run the same"


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """Name a folder as the mirror of all stores; return it."""
    monkeypatch.setenv(VARIABLE, f"file://{tmp_path}/bucket")
    return tmp_path / "bucket"


@pytest.fixture
def make_machine(bucket, make_runs):
    """Return a maker of machines with the mirror and empty runs folders of their own."""
    return make_runs


def list_started(diary):
    return [stage for event, stage, *_ in diary.lines if event == "started"]


def test_another_machine_fetches_what_is_finished(make_machine):
    first, second = make_machine("first"), make_machine("second")
    first.run()
    diary, made = second.run()
    assert list_started(diary) == []
    assert diary.list_stages("skipped") == ["pretrain", "adapt", "join"]
    assert second.contents() == first.contents()
    assert verify(second.root) == []
    assert not list(second.root.rglob(".fetched-*"))
    assert made["join"].manifest.wall_s == manifest.read(first.store.find(first.plan().keys["join"])).wall_s


def test_workers_use_the_mirror_too(make_machine):
    first, second = make_machine("first"), make_machine("second")
    first.run(workers=2)
    diary, _ = second.run(workers=2)
    assert list_started(diary) == []
    assert second.contents() == first.contents()


def test_an_upload_that_was_cut_is_finished_by_the_next_run(make_machine, bucket):
    first = make_machine("first")
    first.run()
    shutil.rmtree(bucket / "stages")
    diary, _ = make_machine("second").run()
    assert list_started(diary) == ["pretrain", "adapt", "join"], "without a manifest nothing counts"
    shutil.rmtree(bucket / "stages")
    first.run()
    assert len(list(bucket.glob("stages/*/manifest.json"))) == 3


def test_the_first_of_two_machines_keeps_its_stage(make_machine, bucket, monkeypatch):
    first, looks = make_machine("first"), []
    _, made = first.run()
    done = made["join"]
    kept = bucket / "stages" / done.manifest.key / "manifest.json"
    before = kept.read_bytes()

    def exists(path):  # at the second machine's first look there is no manifest yet
        looks.append(path)
        return path != str(kept) or looks.count(path) > 1

    mirror = first.store.mirror
    monkeypatch.setattr(mirror._place[0], "exists", exists)
    (done.folder / "manifest.json").write_text("of the second machine")
    mirror.deliver(done.folder, done.manifest)
    assert looks.count(str(kept)) > 1
    assert kept.read_bytes() == before


@pytest.mark.parametrize("damage", ["flip", "gone", "manifest"])
def test_damaged_stage_is_run_here_and_replaced_there(damage, make_machine, bucket):
    first, second, third = map(make_machine, ("first", "second", "third"))
    _, made = first.run()
    done = made["adapt"].manifest
    file = bucket / "files" / next(iter(done.outputs.values())).sha256
    if damage == "flip":
        file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    elif damage == "gone":
        file.unlink()
    else:
        (bucket / "stages" / done.key / "manifest.json").write_text(json.dumps({}))
    diary, _ = second.run()
    assert "adapt" in list_started(diary)
    (line,) = diary.list_remarks()
    assert line.endswith(": the stage is run here, and replaced there")
    assert second.contents() == first.contents()
    diary, _ = third.run()
    assert list_started(diary) == []
    assert third.contents() == first.contents()


def test_stage_of_other_inputs_is_not_fetched(make_machine, monkeypatch):
    make_machine("first").run()
    second = make_machine("second")
    mirror, second.store.mirror = second.store.mirror, None

    def write_other(context):
        second.RUNNERS["count"](context)
        (context.out / "more.txt").write_text("other bytes")

    _, made = second.run(count=write_other)
    shutil.rmtree(made["join"].folder)
    second.store.mirror = mirror
    diary, _ = second.run(count=write_other)
    assert list_started(diary) == ["join"]


@pytest.mark.parametrize(
    "error",
    [
        PermissionError("Access Denied"),
        FileNotFoundError("The specified bucket does not exist"),
        ConnectionError("Could not connect to the endpoint URL"),
    ],
)
def test_wrong_bucket_is_one_line_before_anything_runs(error, make_machine, monkeypatch):
    def refuse(*_, **__):
        raise error

    machine = make_machine("first")
    monkeypatch.setattr(machine.store.mirror._place[0], "pipe_file", refuse)
    with pytest.raises(HarnessError, match=LINE.format(error)):
        machine.run()
    assert not machine.root.exists()


def test_bucket_that_fails_in_a_run_loses_nothing(make_machine, bucket, monkeypatch):
    machine = make_machine("first")
    with monkeypatch.context() as patched:
        patched.setattr(machine.store.mirror._place[0], "put_file", lambda *_: 1 / 0)
        with pytest.raises(HarnessError, match=LINE.format("division by zero")):
            machine.run()
    assert len(machine.store.list_stages()) == 1
    diary, _ = machine.run()
    assert list_started(diary) == ["adapt", "join"]
    assert len(list(bucket.glob("stages/*/manifest.json"))) == 3


def test_missing_packages_are_named(make_runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setenv(VARIABLE, "s3://bucket/prefix")
    with pytest.raises(
        HarnessError, match=r"expected the package .* pip install 'harness-encoders\[bucket\]'$"
    ):
        make_runs("runs").run()


@pytest.fixture
def s3(monkeypatch):
    """Start a server that speaks S3, with an empty bucket."""
    pytest.importorskip("s3fs", reason="a bucket needs: pip install s3fs")
    server = pytest.importorskip("moto.server", reason="a server of S3 needs: pip install moto[server]")
    running = server.ThreadedMotoServer(port=0)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with suppress(FileExistsError):  # of the test before
        s3fs.S3FileSystem().mkdir("kept")
    yield s3fs.S3FileSystem()
    running.stop()
    s3fs.S3FileSystem.clear_instance_cache()


def test_s3_keeps_stages_for_other_machines(s3, make_runs, monkeypatch):
    monkeypatch.setenv(VARIABLE, "s3://kept/runs")
    first, second, third = map(make_runs, ("first", "second", "third"))
    _, made = first.run()
    diary, _ = second.run()
    assert list_started(diary) == []
    assert second.contents() == first.contents()
    done = made["join"]
    before = s3.cat_file(f"kept/runs/stages/{done.manifest.key}/manifest.json")
    with monkeypatch.context() as patched:  # the bucket itself refuses a second manifest
        patched.setattr(second.store.mirror._place[0], "exists", lambda path: "/files/" in path)
        with pytest.raises(HarnessError, match=r"expected a bucket that can be read and written"):
            second.store.mirror.deliver(done.folder, done.manifest)
    assert s3.cat_file(f"kept/runs/stages/{done.manifest.key}/manifest.json") == before
    s3.pipe_file(f"kept/runs/files/{next(iter(done.manifest.outputs.values())).sha256}", b"damage")
    diary, _ = third.run()
    assert list_started(diary) == ["join"]
    assert third.contents() == first.contents()


def test_s3_without_the_bucket_is_one_line(s3, make_runs, monkeypatch):
    monkeypatch.setenv(VARIABLE, "s3://gone/runs")
    with pytest.raises(HarnessError, match=LINE.format(".*bucket.*")):
        make_runs("runs").run()
