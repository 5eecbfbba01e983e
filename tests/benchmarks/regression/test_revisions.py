"""Another revision is unpacked and built in a folder of its own; an unknown one is refused in one line."""

from __future__ import annotations

import json
import subprocess

import pytest

from benchmarks.regression import revisions
from harness.errors import HarnessError


def git(root, *command):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(
        ["git", "-C", str(root), *identity, *command], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path):
    """Return a checkout of two commits with a built extension; the kernels of both are the same."""
    folder = tmp_path / "checkout"
    for name in (
        "harness/ops/__init__.py",
        "csrc/cpu/one.cpp",
        "setup.py",
        "benchmarks/ops.py",
        "tests/test.py",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("first\n")
    git(tmp_path, "init", "-q", str(folder))
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    (folder / "harness/ops/__init__.py").write_text("second\n")
    git(folder, "commit", "-qam", "second")
    (folder / "harness/ops/_kernels.abi3.so").write_text("binary")
    return folder


def test_revision_is_unpacked_without_its_benchmarks(root, tmp_path):
    base = revisions.find_base("HEAD~1", root)
    assert base == revisions.Base(git(root, "rev-parse", "HEAD~1"))
    folder = revisions.unpack_package(base.commit, tmp_path / "builds", root)
    assert folder == tmp_path / "builds" / base.commit[:12]
    assert (folder / "harness/ops/__init__.py").read_text() == "first\n"
    assert {path.name for path in folder.iterdir()} == {"harness", "csrc", "setup.py", ".ready"}


def test_revision_is_built_again_when_kernels_appear_or_go(root, tmp_path):
    kernels = root / "harness/ops/_kernels.abi3.so"
    commit = git(root, "rev-parse", "HEAD")
    there = []
    for has in (False, True, True, False):
        kernels.write_text("binary") if has else kernels.unlink(missing_ok=True)
        folder = revisions.unpack_package(commit, tmp_path / "builds", root)
        there.append(bool(revisions.list_extensions(folder)))
    assert there == [False, True, True, False]


def test_equal_kernels_are_copied_and_others_compiled(root, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(revisions, "_compile", compiled.append)
    first = revisions.unpack_package(git(root, "rev-parse", "HEAD~1"), tmp_path / "builds", root)
    assert (first / "harness/ops/_kernels.abi3.so").read_text() == "binary"
    assert compiled == []
    (root / "csrc/cpu/one.cpp").write_text("changed\n")
    second = revisions.unpack_package(git(root, "rev-parse", "HEAD"), tmp_path / "builds", root)
    assert compiled == [second]
    assert not (second / "harness/ops/_kernels.abi3.so").exists()


def test_checkout_without_extension_compiles_nothing(root, tmp_path, monkeypatch):
    monkeypatch.setattr(revisions, "_compile", lambda _: pytest.fail("nothing to compile"))
    (root / "harness/ops/_kernels.abi3.so").unlink()
    (root / "setup.py").write_text("changed\n")
    revisions.unpack_package(git(root, "rev-parse", "HEAD"), tmp_path / "builds", root)


def test_finished_build_is_reused_and_an_unfinished_one_is_not(root, tmp_path):
    commit = git(root, "rev-parse", "HEAD")
    folder = revisions.unpack_package(commit, tmp_path, root)
    (folder / "harness/ops/__init__.py").write_text("mine\n")
    revisions.unpack_package(commit, tmp_path, root)
    assert (folder / "harness/ops/__init__.py").read_text() == "mine\n"
    (folder / ".ready").unlink()
    revisions.unpack_package(commit, tmp_path, root)
    assert (folder / "harness/ops/__init__.py").read_text() == "second\n"


def test_kernels_that_do_not_compile_are_one_line(root, tmp_path):
    (root / "setup.py").write_text("raise SystemExit('setup: no compiler')\n")
    git(root, "commit", "-qam", "third")
    (root / "setup.py").write_text("first\n")
    with pytest.raises(
        HarnessError, match=r"^compare: expected the kernels of '\w+' compiled; got setup: no compiler$"
    ):
        revisions.unpack_package(git(root, "rev-parse", "HEAD"), tmp_path / "builds", root)


def record(path, **about):
    path.write_text(json.dumps({"environment": about, "counts": {"parameters": 3}}))
    return str(path)


def test_record_names_its_commit_and_counts(root, tmp_path):
    commit = git(root, "rev-parse", "HEAD~1")
    asked = record(tmp_path / "bench.json", commit=commit, dirty=False)
    assert revisions.find_base(asked, root) == revisions.Base(commit, {"parameters": 3})


def test_record_without_commit_is_refused(root, tmp_path):
    for about in ({"commit": None, "dirty": None}, {"commit": "a" * 40, "dirty": True}):
        with pytest.raises(
            HarnessError, match=r"^compare: expected a record taken at a commit; got '.*one\.json', "
        ):
            revisions.find_base(record(tmp_path / "one.json", **about), root)
    (tmp_path / "none.json").write_text("[]")
    for name in ("none.json", "absent.json"):
        with pytest.raises(
            HarnessError, match=r"^compare: expected a record of these benchmarks in '.*; name a file"
        ):
            revisions.find_base(str(tmp_path / name), root)


@pytest.mark.parametrize("asked", ["no-such-branch", "--help", ""])
def test_unknown_revision_is_refused(asked, root):
    with pytest.raises(
        HarnessError, match=rf"^compare: expected a record or a git revision; got '{asked}', which is"
    ):
        revisions.find_base(asked, root)
