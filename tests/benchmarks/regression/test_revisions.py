"""Another revision is unpacked and built in a folder of its own; what names none is refused in one line."""

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
    """Gives a checkout of two commits, with an extension that was built; the kernels of both are the same."""
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


def test_a_revision_is_unpacked_without_its_benchmarks(root, tmp_path):
    base = revisions.find("HEAD~1", root)
    assert base == revisions.Base(git(root, "rev-parse", "HEAD~1"))
    folder = revisions.unpack(base.commit, tmp_path / "builds", root)
    assert folder == tmp_path / "builds" / base.commit[:12]
    assert (folder / "harness/ops/__init__.py").read_text() == "first\n"
    assert {path.name for path in folder.iterdir()} == {"harness", "csrc", "setup.py", ".ready"}


def test_a_revision_is_built_anew_once_this_checkout_has_kernels_or_has_none(root, tmp_path):
    kernels = root / "harness/ops/_kernels.abi3.so"
    commit = git(root, "rev-parse", "HEAD")
    there = []
    for has in (False, True, True, False):
        kernels.write_text("binary") if has else kernels.unlink(missing_ok=True)
        folder = revisions.unpack(commit, tmp_path / "builds", root)
        there.append(bool(revisions.extension(folder)))
    assert there == [False, True, True, False]


def test_equal_kernels_are_one_binary_and_others_are_compiled(root, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(revisions, "_compile", compiled.append)
    first = revisions.unpack(git(root, "rev-parse", "HEAD~1"), tmp_path / "builds", root)
    assert (first / "harness/ops/_kernels.abi3.so").read_text() == "binary"
    assert compiled == []
    (root / "csrc/cpu/one.cpp").write_text("changed\n")
    second = revisions.unpack(git(root, "rev-parse", "HEAD"), tmp_path / "builds", root)
    assert compiled == [second]
    assert not (second / "harness/ops/_kernels.abi3.so").exists()


def test_a_checkout_without_the_extension_compares_the_reference(root, tmp_path, monkeypatch):
    monkeypatch.setattr(revisions, "_compile", lambda _: pytest.fail("nothing to compile"))
    (root / "harness/ops/_kernels.abi3.so").unlink()
    (root / "setup.py").write_text("changed\n")
    revisions.unpack(git(root, "rev-parse", "HEAD"), tmp_path / "builds", root)


def test_what_was_built_is_taken_as_it_is_and_what_was_begun_is_made_anew(root, tmp_path):
    commit = git(root, "rev-parse", "HEAD")
    folder = revisions.unpack(commit, tmp_path, root)
    (folder / "harness/ops/__init__.py").write_text("mine\n")
    revisions.unpack(commit, tmp_path, root)
    assert (folder / "harness/ops/__init__.py").read_text() == "mine\n"
    (folder / ".ready").unlink()
    revisions.unpack(commit, tmp_path, root)
    assert (folder / "harness/ops/__init__.py").read_text() == "second\n"


def test_kernels_that_do_not_compile_are_told_in_one_line(root, tmp_path):
    (root / "setup.py").write_text("raise SystemExit('setup: no compiler')\n")
    git(root, "commit", "-qam", "third")
    (root / "setup.py").write_text("first\n")
    with pytest.raises(
        HarnessError, match=r"^compare: wanted the kernels of '\w+' compiled; got setup: no compiler$"
    ):
        revisions.unpack(git(root, "rev-parse", "HEAD"), tmp_path / "builds", root)


def record(path, **about):
    path.write_text(json.dumps({"environment": about, "counts": {"parameters": 3}}))
    return str(path)


def test_a_record_names_its_commit_and_brings_its_counts(root, tmp_path):
    commit = git(root, "rev-parse", "HEAD~1")
    asked = record(tmp_path / "bench.json", commit=commit, dirty=False)
    assert revisions.find(asked, root) == revisions.Base(commit, {"parameters": 3})


def test_a_record_that_names_no_commit_is_refused(root, tmp_path):
    for about in ({"commit": None, "dirty": None}, {"commit": "a" * 40, "dirty": True}):
        with pytest.raises(
            HarnessError, match=r"^compare: wanted a record taken at a commit; got '.*one\.json', "
        ):
            revisions.find(record(tmp_path / "one.json", **about), root)
    (tmp_path / "none.json").write_text("[]")
    for name in ("none.json", "absent.json"):
        with pytest.raises(
            HarnessError, match=r"^compare: wanted a record of these benchmarks in '.*; name a file"
        ):
            revisions.find(str(tmp_path / name), root)


@pytest.mark.parametrize("asked", ["no-such-branch", "--help", ""])
def test_what_is_no_revision_is_refused(asked, root):
    with pytest.raises(
        HarnessError, match=rf"^compare: wanted a record or a git revision; got '{asked}', which is"
    ):
        revisions.find(asked, root)
