"""The command that compares two revisions: when it fails, what it prints, whose code it runs."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest

from benchmarks.regression import compare, revisions
from benchmarks.regression.table import ENTRIES
from benchmarks.regression.two_revisions import BASE, HEAD, Worker
from harness.errors import HarnessError

NAMES = [one.full_name for one in ENTRIES]
COUNTS = {"parameters of student": 100, "operators of student/model.onnx": 7}


class Machine:
    """Two revisions that take a millisecond a step, except for planted differences."""

    def __init__(self):
        self.slower, self.counts, self.refused = (
            {},
            {BASE: dict(COUNTS), HEAD: dict(COUNTS)},
            {BASE: {}, HEAD: {}},
        )
        self.launches = 0

    def factor(self, role, name):
        """Return how many times as long a step takes: one planted value a comparison, then the last."""
        planted = self.slower.get(name, [1.0])
        return planted[min((self.launches - 1) // 2, len(planted) - 1)] if role == HEAD else 1.0

    @contextmanager
    def workers(self, packages, _, **settings):
        self.launches += "HARNESS_OPS" not in settings
        yield {role: Planted(self, role) for role in packages}


class Planted:
    def __init__(self, machine, role):
        self.machine, self.role = machine, role

    def send(self, **command):
        self.command = command

    def receive(self):
        return self.ask(**self.command)

    def ask(self, do, **command):
        if do == "prepare":
            return {"counts": dict(self.machine.counts[self.role])}
        if do == "load":
            return {"refused": self.machine.refused[self.role]}
        taken = 1_000_000 * self.machine.factor(self.role, command["name"])
        return {"durations_ns": [taken] * command["calls"]}


@pytest.fixture
def machine(monkeypatch, tmp_path):
    made = Machine()
    monkeypatch.setattr(compare, "workers", made.workers)
    monkeypatch.setattr(compare.revisions, "find_base", lambda _: revisions.Base("0123456789abcdef"))
    monkeypatch.setattr(compare.revisions, "unpack_package", lambda *_: tmp_path)
    monkeypatch.setattr(compare.revisions, "digest_sources", lambda _: "same")
    return made


def run(*more):
    return compare.main(["HEAD", "--launches", "2", "--rounds", "3", *more])


def test_equal_revisions_pass(machine, capsys):
    assert run() == 0
    printed = capsys.readouterr().out
    assert all(f"| {name} | 1.000 | 1.000 (1.000–1.000) | same |" in printed for name in NAMES)
    assert printed.splitlines()[-3:] == ["Every count is the same.", "", "Nothing is worse."]
    assert machine.launches == 2


def test_slower_step_is_timed_again_and_fails(machine, capsys):
    machine.slower = {"stages: adapt": [1.15]}
    assert run() == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "Worse: stages: adapt"
    assert "| stages: adapt | 1.000 | 1.150 (1.150–1.150) | slower |" in out
    assert "timed again, as they look slower: stages: adapt" in err
    assert machine.launches == 4


def test_step_that_is_slower_once_passes(machine, capsys):
    machine.slower = {"stages: adapt": [1.15, 1.0]}
    assert run() == 0
    assert "| stages: adapt | 1.000 | 1.000 (1.000–1.000) | same |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "grown"), [("parameters of student", 101), ("operators of student/model.onnx", 8)]
)
def test_one_parameter_or_operator_more_fails(machine, capsys, name, grown):
    machine.counts[HEAD][name] = grown
    assert run() == 1
    printed = capsys.readouterr().out
    assert f"| {name} | {grown - 1} | {grown} | worse |" in printed
    assert printed.splitlines()[-1] == f"Worse: {name}"
    assert run("--accept", name) == 0


def test_counts_of_a_record_are_compared(machine, monkeypatch, capsys):
    base = revisions.Base("0123456789abcdef", {"parameters of student": 99})
    monkeypatch.setattr(compare.revisions, "find_base", lambda _: base)
    assert run("--only", "ops: *") == 1
    assert "| parameters of student | 99 | 100 | worse |" in capsys.readouterr().out


def test_step_that_the_base_lacks_passes(machine, capsys):
    machine.refused[BASE] = {"stages: tune": "ImportError: no such thing"}
    assert run() == 0
    printed = capsys.readouterr().out
    assert "| stages: tune | – | – | not in the base: ImportError: no such thing |" in printed


def test_step_that_fails_in_this_checkout_is_an_error(machine, capsys):
    machine.refused[HEAD] = {"stages: tune": "ValueError: broken"}
    assert run() == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "compare: expected 'stages: tune' to run in this checkout; got ValueError: broken; fix the step"
    )


def test_base_without_countable_loops_is_timed(machine, monkeypatch, capsys, tmp_path):
    head, base = tmp_path / "head", tmp_path / "base"
    monkeypatch.setattr(compare.revisions, "ROOT", head)
    monkeypatch.setattr(compare.revisions, "unpack_package", lambda *_: base)
    monkeypatch.setattr(compare.revisions, "digest_sources", str)
    monkeypatch.setattr(compare.instructions, "list_missing_tools", list)

    def count(package):
        if package == base:
            raise HarnessError("compare: expected a count of instructions; c++ failed: no member named 'row'")
        return {"instructions of row": 7}

    monkeypatch.setattr(compare.instructions, "count_instructions", count)
    assert run() == 0
    out, err = capsys.readouterr()
    assert "no member named 'row'; the base's instructions are left out" in err
    assert all(f"| {name} | 1.000 | 1.000" in out for name in NAMES)


def test_different_ops_are_reported(monkeypatch, capsys, tmp_path):
    class FakeWorker:
        def __init__(self, package, *_, name, **__):
            self.answer = {"package": str(package), "ops": {BASE: "reference", HEAD: "compiled"}[name]}

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def send(self, **_):
            pass

        def receive(self):
            return self.answer

    monkeypatch.setattr(compare, "Worker", FakeWorker)
    with compare.workers({BASE: tmp_path / "base", HEAD: tmp_path}, tmp_path):
        pass
    message = "compare: the ops of 'base' are reference, those of this checkout compiled; their times differ"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("patterns", [["op: *"], ["ops: *", "stage: *"], ["ops: *, stages: *"]])
def test_pattern_that_matches_no_step_is_refused(machine, capsys, patterns):
    assert run("--only", *patterns) == 2
    assert "which matches none of ops: distillation_loss; " in capsys.readouterr().err


def test_only_selected_steps_are_timed(machine, capsys):
    assert run("--only", "ops: *") == 0
    printed = capsys.readouterr().out
    assert "| ops: gelu" not in printed
    assert "| ops: linear_gelu_linear" in printed
    assert "stages:" not in printed


def test_record_contains_every_round(machine, tmp_path):
    assert run("--record", str(tmp_path / "records"), "--only", "ops: *") == 0
    (path,) = (tmp_path / "records").glob("compare_*.json")
    record = json.loads(path.read_text())
    assert record["base"] == "0123456789abcdef"
    assert record["counts"] == {BASE: COUNTS, HEAD: COUNTS}
    assert [len(rounds) for rounds in record["findings"][0]["launches"]] == [3, 3]


@pytest.fixture
def package(tmp_path):
    """Return a function that makes a folder with a package."""

    def make(name, content="def implementation():\n    return 'reference'\n"):
        folder = tmp_path / name / "harness" / "ops"
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").touch()
        (folder / "__init__.py").write_text(content)
        return tmp_path / name

    return make


def start(package, folder):
    return Worker(package, revisions.ROOT, folder, name="one", settings={})


def test_each_process_runs_its_own_package(package, tmp_path):
    with start(package("there"), tmp_path) as worker:
        assert worker.ask(do="about") == {"package": str(tmp_path / "there"), "ops": "reference"}


def test_failure_in_a_process_is_one_line(package, tmp_path):
    broken = "print('noise')\nraise OSError('no library\\nmore')\n"
    error = pytest.raises(revisions.HarnessError, match=r"to be timed; got OSError: no library; see ")
    with start(package("there", broken), tmp_path) as worker, error:
        worker.ask(do="about")
    assert "noise" in (tmp_path / "one.log").read_text()


def test_process_that_ends_is_reported(package, tmp_path):
    crash = "import os, sys\nsys.stderr.write('the last word\\n')\nsys.stderr.flush()\nos._exit(3)\n"
    error = pytest.raises(revisions.HarnessError, match=r"its process ended: the last word$")
    with start(package("there", crash), tmp_path) as worker, error:
        worker.ask(do="about")


def test_shadowed_package_is_refused(monkeypatch, tmp_path, package):
    package("there")
    monkeypatch.setattr(compare, "Worker", lambda _, *rest, **more: Worker(tmp_path / "there", *rest, **more))
    shadowed = r"expected the package of '.*'; got '.*there'; uninstall what"
    error = pytest.raises(revisions.HarnessError, match=shadowed)
    with error, compare.workers({HEAD: tmp_path / "other"}, tmp_path):
        pass
