"""A kill, Ctrl-C, a full disk, a read-only folder: one line, and nothing lost."""

from __future__ import annotations

import errno
import os
import random
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.errors import HarnessError
from harness.pipeline import store, verify

FULL = "free some space and run the same command again: finished stages and checkpoints are kept"


def fail_once(monkeypatch, owner, name, error):
    """Make a function raise the first time that it is called under the runs folder."""
    real, left = getattr(owner, name), [error]

    def broken(*args, **kwargs):
        if left and "runs" in str(args[0]):
            raise left.pop()
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, broken)


def stop_after(steps, error):
    """Return a runner that counts, but is interrupted after some steps."""

    def cut(context):
        from dataclasses import replace

        def progress(done, *rest):
            if done == steps and not context.resuming:
                raise error

        return replace(context, progress=progress)

    return cut


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), ValueError("a fault")], ids=repr)
def test_interrupted_stage_resumes_from_its_checkpoint(error, runs, make_runs):
    cut = stop_after(3, error)
    with pytest.raises(type(error)):
        runs.run(count=lambda context: runs.RUNNERS["count"](cut(context)))
    (partial,) = runs.root.glob("mt/paper-mini/.partial-01-pretrain-*")
    assert (partial / "checkpoints" / "checkpoint-3" / "state.json").read_text().startswith("[3,")
    diary, made = runs.run()
    assert diary.lines[:2] == [("resumed", "pretrain"), ("progress", "pretrain", 4, 5, "steps")]
    assert [made[one].manifest.resumed for one in made] == [True, False, False]
    whole = make_runs("undisturbed")
    whole.run()
    assert runs.contents() == whole.contents()
    assert verify(runs.root) == []


def test_interrupted_stage_leaves_no_partial_output(runs):
    def litter(context):
        (context.out / "half.bin").write_text("half")
        (context.out / "folder").mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.run(join=litter)
    _, made = runs.run()
    assert set(made["join"].manifest.outputs) == {"joined.txt"}


def test_another_run_resumes_an_interrupted_stage(runs):
    cut = stop_after(2, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        runs.run(count=lambda context: runs.RUNNERS["count"](cut(context)))
    diary, _ = runs.run(folder="sk/paper-mini")
    assert diary.lines[0] == ("resumed", "pretrain")
    assert not list(runs.root.rglob(".partial*"))
    assert verify(runs.root) == []


@pytest.mark.parametrize("name", ["rename", "rmdir"])
def test_sealed_stage_is_published_without_running_again(name, runs, monkeypatch):
    """Interrupt between writing the manifest and the rename, or while a broken stage is removed."""
    if name == "rmdir":
        _, made = runs.run()
        (made["pretrain"].folder / "empty").unlink()
    real = store.publish

    def cut(partial, final):
        store.remove(partial / "checkpoints")
        if final.exists():
            (final / "manifest.json").unlink()
        raise KeyboardInterrupt

    module = sys.modules["harness.pipeline.execute"]
    monkeypatch.setattr(module, "publish", cut)
    with pytest.raises(KeyboardInterrupt):
        runs.run()
    monkeypatch.setattr(module, "publish", real)
    diary, _ = runs.run()
    assert "pretrain" not in diary.list_stages("started", "resumed")
    assert "pretrain" in diary.list_stages("finished")
    assert verify(runs.root) == []


def no_space():
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.safetensors")


def wrapped():
    """Raise like a library: its own error, with the system's error as the cause."""
    error = RuntimeError("writing the archive failed")
    error.__cause__ = no_space()
    return error


def from_rust():
    return RuntimeError(
        'Error while serializing: IoError(Os { code: 28, message: "No space left on device" })'
    )


def from_torch():
    return RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 110784 vs 110676")


@pytest.mark.parametrize("free", [0, 1 << 30])
def test_file_that_torch_could_not_write_whole_means_a_full_disk(free, runs, monkeypatch):
    monkeypatch.setattr("harness.pipeline.faults.shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    cut = stop_after(3, from_torch())
    with pytest.raises(RuntimeError if free else HarnessError, match="unexpected pos" if free else "is full"):
        runs.run(count=lambda context: runs.RUNNERS["count"](cut(context)))
    assert runs.run()[0].list_stages("resumed") == ["pretrain"]


@pytest.mark.parametrize("fault", [no_space, wrapped, from_rust], ids=lambda fault: fault.__name__)
def test_full_disk_is_one_line_and_loses_nothing(fault, runs):
    cut = stop_after(3, fault())
    with pytest.raises(HarnessError) as caught:
        runs.run(count=lambda context: runs.RUNNERS["count"](cut(context)))
    assert str(caught.value) == f"pretrain: the disk of {runs.root} is full; {FULL}"
    diary, _ = runs.run()
    assert diary.list_stages("resumed") == ["pretrain"]
    assert verify(runs.root) == []


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Path, "mkdir"), (Path, "write_text"), (Path, "open"), (os, "open")],
    ids=str,
)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM])
def test_disk_fault_of_any_call_is_one_line_and_the_next_run_succeeds(owner, name, code, runs, monkeypatch):
    error = OSError(code, os.strerror(code), str(runs.root / "x"))
    fail_once(monkeypatch, owner, name, error)
    with pytest.raises(HarnessError) as caught:
        runs.run()
    reason = os.strerror(code).lower()
    assert str(caught.value) == (
        f"pretrain: the disk of {runs.root} is full; {FULL}"
        if code in (errno.ENOSPC, errno.EDQUOT)
        else f"pretrain: cannot write in the runs folder {runs.root} ({reason}); make it writable, or "
        "choose another"
    )
    runs.run()
    assert verify(runs.root) == []


def test_runs_folder_that_is_a_file_is_refused(runs):
    runs.root.write_text("")
    with pytest.raises(
        HarnessError, match=r"^pretrain: expected .*runs to be a folder of the runs; got a file of"
    ):
        runs.run()


def test_file_in_the_place_of_a_runs_own_folder_is_named(runs):
    (runs.root / "mt").mkdir(parents=True)
    (runs.root / "mt" / "paper-mini").write_text("")
    with pytest.raises(
        HarnessError, match=r"expected .*runs/mt/paper-mini to be a folder of the runs; got a"
    ):
        runs.run()


def test_full_disk_elsewhere_is_named(runs):
    def fill(context):
        raise OSError(errno.ENOSPC, "full", "/elsewhere/cache/model.bin")

    with pytest.raises(HarnessError, match=r"^join: the disk of /elsewhere/cache is full; "):
        runs.run(join=fill)


def test_denied_file_elsewhere_is_not_blamed_on_the_runs_folder(runs):
    def denied(context):
        raise PermissionError(errno.EACCES, "denied", "/elsewhere/text")

    with pytest.raises(PermissionError):
        runs.run(join=denied)


def wrote(*args, **kwargs):
    pytest.fail("something was written")


def test_finished_run_is_read_from_a_read_only_folder(runs, monkeypatch):
    runs.run()
    monkeypatch.setattr(Path, "mkdir", wrote)
    monkeypatch.setattr(os, "open", wrote)
    assert runs.run()[0].list_stages("skipped") == ["pretrain", "adapt", "join"]


def nobody(holder):
    pytest.fail(f"waited for {holder}")


def wait(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_kill_at_any_moment_ends_like_an_undisturbed_run(runs, make_runs, in_child):
    whole = make_runs("undisturbed")
    plan = runs.plan(steps=12, pause_s=0.003)
    began_s = time.monotonic()
    whole.run(plan)
    length_s = time.monotonic() - began_s
    chance, kills = random.Random(5), 0
    for _ in range(25):
        child = in_child(lambda: runs.run(plan))
        time.sleep(chance.uniform(0, length_s))
        os.kill(child, signal.SIGKILL)
        killed = wait(child) == -signal.SIGKILL
        kills += killed
        if runs.files() and (not killed or len(runs.store.list_stages()) == 3):
            chance.choice(runs.files()).unlink()
    diary, _ = runs.run(plan)
    assert kills >= 10
    assert len(diary.list_stages("skipped", "finished")) == 3
    assert runs.contents() == whole.contents()
    assert verify(runs.root) == []
    assert not list(runs.root.rglob(".partial*"))


def test_two_processes_run_each_stage_once(runs, in_child, tmp_path):
    plan = runs.plan(steps=10, pause_s=0.02)
    made = tmp_path / "made"

    def noting(kind):
        def note(context):
            with made.open("a") as file:
                file.write(f"{context.out.name}\n")
            runs.RUNNERS[kind](context)

        return note

    runners = {kind: noting(kind) for kind in runs.RUNNERS}
    children = [in_child(lambda: runs.run(plan, **runners)) for _ in range(3)]
    assert [wait(child) for child in children] == [0, 0, 0]
    assert sorted(made.read_text().split()) == sorted(
        f".partial-{folder.name}" for folder in runs.store.list_stages()
    )
    assert verify(runs.root) == []


def test_waiting_process_reports_the_lock_holder(runs, in_child):
    key = runs.plan().keys["pretrain"]

    def occupy():
        with runs.store.lock(key, nobody):
            time.sleep(0.6)

    child = in_child(occupy)
    holder = runs.root / ".locks" / f"{key}.holder"
    while not (holder.exists() and holder.read_text()):
        time.sleep(0.01)
    diary, _ = runs.run()
    ((_, stage, process),) = [line for line in diary.lines if line[0] == "waiting"]
    assert stage == "pretrain"
    assert process.startswith(f"process {child} on ")
    assert wait(child) == 0


def test_lock_of_a_killed_process_blocks_nobody(runs, in_child):
    key = runs.plan().keys["pretrain"]

    def occupy():
        with runs.store.lock(key, nobody):
            time.sleep(60)

    child = in_child(occupy)
    holder = runs.root / ".locks" / f"{key}.holder"
    while not (holder.exists() and holder.read_text()):
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    wait(child)
    assert "waiting" not in [line[0] for line in runs.run()[0].lines]


def test_ctrl_c_frees_the_lock(runs):
    def interrupt(context):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.run(count=interrupt)
    with runs.store.lock(runs.plan().keys["pretrain"], nobody):
        pass


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOLCK, "No locks available"),
        OSError(errno.EOPNOTSUPP, "Operation not supported"),
        OSError(errno.ENOSYS, "Function not implemented"),  # where filelock would fall back to a marker file
    ],
    ids=str,
)
def test_file_system_without_locks_is_refused_with_advice(error, runs, monkeypatch):
    def refuse(descriptor):
        raise error

    monkeypatch.setattr("filelock._unix.lock_fd_nonblocking", refuse)
    with pytest.raises(HarnessError) as caught:
        runs.run()
    assert str(caught.value) == (
        f"{runs.root / '.locks'}: expected a file system with locks, which keep two runs apart; got "
        f"'{error.strerror}'; keep the runs on a local disk, as --runs /var/tmp/runs"
    )
    monkeypatch.undo()
    runs.run()
    assert verify(runs.root) == []


def test_lock_that_is_held_is_waited_for_without_its_holders_name(runs, in_child):
    key = runs.plan().keys["pretrain"]

    def occupy():
        with runs.store.lock(key, nobody):
            (runs.root / ".locks" / f"{key}.holder").unlink()
            (runs.root / "ready").touch()
            time.sleep(0.4)

    runs.root.mkdir()
    in_child(occupy)
    while not (runs.root / "ready").exists():
        time.sleep(0.01)
    diary, _ = runs.run()
    assert ("waiting", "pretrain", "another process") in diary.lines
