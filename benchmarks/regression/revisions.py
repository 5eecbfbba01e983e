"""Unpack another revision's package into a folder of its own, with its own compiled extension."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.paths import ROOT
from harness.errors import HarnessError

_LEFT_OUT = ("benchmarks", "tests", "docs", ".ci", "docker")
_BUILT_FROM = ("setup.py", "csrc")


@dataclass(frozen=True)
class Base:
    """The revision to compare with.

    Attributes:
        commit: full hash of the commit.
        counts: counts of the record that was named; None if a revision was named.
    """

    commit: str
    counts: dict[str, int] | None = None


def find_base(asked: str, root: Path = ROOT) -> Base:
    """Return the revision that a record or a git revision names.

    Raises:
        HarnessError: it is neither, or a record that was not taken at a commit.
    """
    path = Path(asked)
    if path.suffix == ".json" or path.is_file():
        return _read_record(path, root)
    return Base(_resolve_commit(asked, root))


def _read_record(path: Path, root: Path) -> Base:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        about, counts = record["environment"], record.get("counts")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HarnessError(
            f"compare: expected a record of these benchmarks in '{path}'; got {type(error).__name__}; "
            "name a file of benchmarks/records, or a git revision"
        ) from error
    if not about.get("commit") or about.get("dirty"):
        raise HarnessError(
            f"compare: expected a record taken at a commit; got '{path}', taken with changes that no commit "
            "holds; name another, or a git revision"
        )
    return Base(_resolve_commit(about["commit"], root), counts)


def _resolve_commit(asked: str, root: Path) -> str:
    command = ["git", "-C", str(root), "rev-parse", "--verify", "--quiet", "--end-of-options"]
    done = subprocess.run([*command, f"{asked}^{{commit}}"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError(
            f"compare: expected a record or a git revision; got '{asked}', which is neither; "
            "name a file of benchmarks/records, a commit, a branch or a tag (a shallow clone lacks most)"
        )
    return done.stdout.strip()


def unpack_package(commit: str, target: Path, root: Path = ROOT) -> Path:
    """Return the folder with a revision's package and its extension; an existing folder is used as it is.

    A folder is built again if this checkout had no extension then and has one now, or the other way round.

    Where the extension's sources are those of this checkout, this checkout's extension is copied: both then
    run the same binary, and nothing is compiled.

    Raises:
        HarnessError: the extension does not compile.
    """
    folder = target / commit[:12]
    built = list_extensions(root)
    if (folder / ".ready").is_file() and (
        bool(list_extensions(folder)) == bool(built) or not _has_sources(folder)
    ):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _extract(commit, folder, root)
    if digest_sources(folder) == digest_sources(root):
        for one in built:
            shutil.copy2(one, folder / "harness" / "ops")
    elif built and _has_sources(folder):
        _compile(folder)
    (folder / ".ready").touch()
    return folder


def list_extensions(package: Path) -> list[Path]:
    """Return the files of a package's compiled extension; none where it was not built."""
    return sorted((package / "harness" / "ops").glob("_kernels*.so"))


def _has_sources(package: Path) -> bool:
    return (package / "csrc").is_dir()


def _extract(commit: str, folder: Path, root: Path) -> None:
    command = ["git", "-C", str(root), "archive", "--format=tar", commit]
    archive = subprocess.run(command, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        kept = [one for one in tar.getmembers() if one.name.split("/")[0] not in _LEFT_OUT]
        tar.extractall(folder, members=kept, filter="data")


def _compile(folder: Path) -> None:
    environment = {**os.environ, "HARNESS_COMPILE": "1", "HARNESS_CUDA": "0"}
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.splitlines() or ["no message"])[-1]
        raise HarnessError(f"compare: expected the kernels of '{folder.name}' compiled; got {reason}")


def digest_sources(folder: Path) -> str:
    """Return a digest of the sources of the extension."""
    digest = hashlib.sha256()
    for name in _BUILT_FROM:
        top = folder / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file():
                digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
