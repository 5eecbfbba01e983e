"""Independent stages in worker processes: the files of one process, and nothing lost."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import HarnessError, UsageError
from harness.pipeline import Plan, Stage, verify, workers
from harness.pipeline.workers import Workers

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _let_workers_import_tests(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


def wait_for(path, seconds=60.0):
    """Wait until a file exists; return whether it does."""
    end_s = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end_s:
        time.sleep(0.01)
    return path.exists()


def meet(context):
    """Wait for a stage that runs at the same time, which waits for this one."""
    room = Path(context.config["room"])
    (room / context.config["name"]).touch()
    assert wait_for(room / context.config["other"])
    (context.out / "x").write_text(context.config["name"])


def visit(context):
    """Note the stages that run while this one does."""
    room = Path(context.config["room"])
    (room / context.config["name"]).touch()
    time.sleep(0.2)
    (context.out / "seen.txt").write_text(" ".join(sorted(path.name for path in room.iterdir())))
    (room / context.config["name"]).unlink()


def fail(context):
    """Fail, as the config says, once another stage runs and until the cause is removed."""
    room = Path(context.config["room"])
    assert wait_for(room / "long")
    if (room / "cause").exists():
        if context.config["how"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, "full", "/elsewhere/cache/model.bin")
    (context.out / "x").write_text("x")


def last(context):
    """Run long enough for another stage to fail in the meantime."""
    (Path(context.config["room"]) / "long").touch()
    time.sleep(0.5)
    (context.out / "x").write_text("x")


class OddError(Exception):
    """Cannot be read by another process."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


class OddUsageError(UsageError):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def plan_two(kind, room, **config):
    one, two = config | {"room": str(room), "name": "one", "other": "two"}, {"name": "two", "other": "one"}
    return [Stage("one", kind, 1, one, {}), Stage("two", kind, 1, one | two, {})]


def test_workers_write_the_files_of_one_process(runs, make_runs):
    diary, made = runs.run(workers=2)
    alone = make_runs("alone")
    _, expected = alone.run()
    assert runs.contents() == alone.contents()
    assert list(made) == list(expected) == ["pretrain", "adapt", "join"]
    assert sorted(diary.list_stages("started")) == sorted(diary.list_stages("finished")) == sorted(made)
    assert diary.list_stages("finished")[-1] == "join"
    assert ("progress", "adapt", 5, 5, "steps") in diary.lines
    assert runs.run(workers=2)[0].list_stages("skipped") == ["pretrain", "adapt", "join"]
    assert verify(runs.root) == []


def test_independent_stages_run_at_the_same_time(runs, tmp_path):
    _, made = runs.run(Plan(plan_two("meet", tmp_path)), workers=2, meet=meet)
    assert (made["one"].folder / "x").read_text() == "one"


def test_stage_that_measures_time_runs_alone(runs, tmp_path):
    first, second = plan_two("visit", tmp_path)
    timed = Stage("timed", "visit", 1, first.config | {"name": "timed"}, {}, alone=True)
    _, made = runs.run(Plan([timed, first, second]), workers=3, visit=visit)
    seen = {name: (one.folder / "seen.txt").read_text().split() for name, one in made.items()}
    assert "timed" in seen["timed"]
    assert all("timed" not in seen[name] for name in ("one", "two"))
    assert not {"one", "two"} & set(seen["timed"])


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("kill", "one: expected its worker process to finish; it was ended by SIGKILL; free memory or take"),
        ("full", "one: the disk of /elsewhere/cache is full; free some space"),
    ],
)
def test_failing_stage_lets_a_running_one_finish(how, line, runs, tmp_path):
    (tmp_path / "cause").touch()
    config = {"room": str(tmp_path), "how": how}
    stages = [Stage("one", "fail", 1, config, {}), Stage("two", "last", 1, config, {})]
    plan = Plan([*stages, Stage("three", "last", 1, config, {"model": "one"})])
    with pytest.raises(HarnessError) as caught:
        runs.run(plan, workers=2, fail=fail, last=last)
    assert str(caught.value).startswith(line)
    assert [folder.name[:6] for folder in runs.store.list_stages()] == ["02-two"]
    (tmp_path / "cause").unlink()
    diary, _ = runs.run(plan, workers=2, fail=fail, last=last)
    assert (diary.list_stages("skipped"), diary.list_stages("finished")) == (["two"], ["one", "three"])
    assert verify(runs.root) == []


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (HarnessError("score: no such thing"), HarnessError, "score: no such thing"),
        (OSError(errno.ENOENT, "none", "/text"), FileNotFoundError, "[Errno 2] none: '/text'"),
        (ModuleNotFoundError("No module named 'peft'", name="peft"), ModuleNotFoundError, "No module named"),
        (OddUsageError(1, 2), UsageError, "1 2"),
        (OddError(1, 2), RuntimeError, "OddError: 1 2"),
    ],
)
def test_error_of_a_worker_keeps_its_line_and_exit_code(error, kind, line):
    def call(argument, send):
        raise error

    name, caught = pickle.loads(pickle.dumps(workers.answer(call, None, print)))
    assert (name, type(caught)) == ("error", kind)
    assert str(caught).startswith(line)
    assert getattr(caught, "exit_code", None) == getattr(error, "exit_code", None)
    assert getattr(caught, "name", None) == getattr(error, "name", None)


SCRIPT = """
import signal, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.pipeline.conftest import Runs, Diary

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    runs = Runs(Path({runs!r}))
    class Speaking(Diary):
        def progress(self, *values): print("progress", flush=True)
    runs.run(runs.plan(steps=40, pause_s=0.02), workers=2, diary=Speaking())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda one: one.name)
def test_signal_ends_workers_and_the_next_run_resumes(number, runs, make_runs, tmp_path):
    """SIGINT reaches the whole group, as from a terminal; the others the parent alone."""
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(root=str(ROOT), runs=str(runs.root)))
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for _ in range(6):
        assert process.stdout.readline() == "progress\n"
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=60)  # waits until no worker holds the pipe any more
    assert process.returncode != 0
    assert errors.count("Traceback") == (0 if number == signal.SIGKILL else 1)  # the parent's own
    diary, _ = runs.run(runs.plan(steps=40, pause_s=0.02))
    assert "pretrain" in diary.list_stages("resumed", "skipped")
    whole = make_runs("whole")
    whole.run(whole.plan(steps=40, pause_s=0.02))
    assert runs.contents() == whole.contents()
    assert verify(runs.root) == []


def double(argument, send):
    send(argument)
    return 2 * argument


EARLY = """
import signal, sys
sys.path.insert(0, {root!r})
from harness.pipeline.workers import Workers
from tests.pipeline.test_parallel import double

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Workers(2, double) as pool:
            print("starts", flush=True)
            for name in ("first", "second"):
                pool.start(name, 1)
            while pool.running:
                list(pool.wait())
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("after_s", [0.0, 0.1])
def test_signal_during_the_start_of_workers_prints_nothing(after_s, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(EARLY.format(root=str(ROOT)))
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    process.stdout.readline()
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode in {0, 130}


def tell_number(number):
    os.environ["NUMBER_OF_THE_WORKER"] = str(number)


def read_number(argument, send):
    return os.environ["NUMBER_OF_THE_WORKER"]


def test_processes_start_before_their_calls_and_have_different_numbers():
    with Workers(3, read_number, tell_number) as pool:
        pool.start_processes()
        pool.start_processes()  # all are there
        assert len(multiprocessing.active_children()) == 3
        for name in ("first", "second", "third"):
            pool.start(name, None)
        answers = []
        while pool.running:
            answers += [(message.name, message.content) for message in pool.wait()]
    assert sorted(answers) == [("first", "0"), ("second", "1"), ("third", "2")]


def refuse(number):
    raise SystemExit(3)


def test_worker_that_cannot_start_is_an_error():
    with Workers(1, double, refuse) as pool:
        pool.start("first", 1)
        (message,) = pool.wait()
    assert (message.name, message.kind) == ("first", "error")
    assert "it ended with exit code 3" in str(message.content)
