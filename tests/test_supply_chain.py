"""Everything is installed at a hash of a lock; releases, images and CI list it in a bill of materials."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "torch.lock", "torch-cpu.lock")
PIP = """#!{python}
import json, os, sys
open(os.environ["CALLS"], "a").write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[1] == "-c":
    exec(sys.argv[2])
elif "--dry-run" in sys.argv:
    version = os.environ["CHOSEN"]
    print(json.dumps(dict(install=[dict(metadata=dict(version=version))] if version else [])))
"""


def read_lock(name: str) -> dict[str, tuple[str, list[str]]]:
    """Return version and hashes of each package of a lock."""
    entries = re.split(r"^(?=[\w.-]+==)", (ROOT / name).read_text(), flags=re.MULTILINE)[1:]
    rows = [
        (re.match(r"([\w.-]+)==([^ \\;]+)", one), re.findall("sha256:([0-9a-f]{64})", one)) for one in entries
    ]
    return {row[1]: (row[2], hashes) for row, hashes in rows}


@pytest.mark.parametrize("torch", [*LOCKS[1:], "torch==2.14.0"])
def test_bill_lists_every_package_with_its_hashes(torch):
    ended = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "sbom"), torch], capture_output=True, text=True, check=True
    )
    bill = json.loads(ended.stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    expected = read_lock(LOCKS[0]) | (read_lock(torch) if torch in LOCKS else {"torch": ("2.14.0", [])})
    listed = {
        one["name"]: (one["version"], [entry["content"] for entry in one.get("hashes", ())])
        for one in bill["components"]
    }
    assert listed == expected
    assert len(listed) == len(bill["components"])


def test_every_package_of_every_lock_has_a_hash():
    locks = {name: read_lock(name) for name in LOCKS}
    assert [*locks[LOCKS[2]]] == ["torch"]
    assert all(hashes for lock in locks.values() for _, hashes in lock.values())
    assert locks["torch-cpu.lock"]["torch"][0] == locks["torch.lock"]["torch"][0] + "+cpu"
    assert "torch" not in locks[LOCKS[0]]
    shared = locks[LOCKS[0]].keys() & locks["torch.lock"].keys()
    assert {name: locks[LOCKS[0]][name][0] for name in shared} == {
        name: locks["torch.lock"][name][0] for name in shared
    }


@pytest.mark.parametrize(
    ("chosen", "printed", "installed"),
    [
        ("2.13.0", "torch.lock", "--no-deps --require-hashes --requirement {root}/torch.lock --quiet"),
        (
            "2.13.0+cpu",
            "torch-cpu.lock",
            "--no-deps --require-hashes --requirement {root}/torch-cpu.lock --quiet",
        ),
        ("2.13.0+cu130", "torch==2.13.0", "torch==2.13.0 --quiet"),
        ("2.13.1", "torch==2.13.0", "torch==2.13.0 --quiet"),
        ("", "", None),  # installed already
    ],
)
def test_torch_is_installed_at_a_hash_of_the_lock_of_the_build_that_pip_chooses(
    chosen, printed, installed, tmp_path
):
    python, calls = tmp_path / "python", tmp_path / "calls"
    python.write_text(PIP.format(python=sys.executable))
    python.chmod(0o755)
    ended = subprocess.run(
        [str(ROOT / ".ci" / "torch"), str(python), "torch==2.13.0", "install"],
        env={"PATH": os.environ["PATH"], "CHOSEN": chosen, "CALLS": str(calls)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.strip() == printed
    assert ("without comparing its hash" in ended.stderr) == (printed == "torch==2.13.0")
    done = [
        line
        for line in calls.read_text().splitlines()
        if line.startswith("-m pip") and "--dry-run" not in line
    ]
    assert done == ([f"-m pip install {installed.format(root=ROOT)}"] if installed else [])


def test_release_image_setup_and_weekly_check_use_the_locks():
    dockerfile, makefile = (ROOT / "docker/Dockerfile").read_text(), (ROOT / "Makefile").read_text()
    assert ".ci/sbom torch.lock" in (ROOT / ".github/workflows/release.yml").read_text()
    weekly = (ROOT / ".github/workflows/weekly.yml").read_text()
    assert "pip-audit --require-hashes" in weekly
    assert all(f"--requirement {name}" in weekly for name in LOCKS[:2])
    assert "/venv/sbom.cdx.json" in dockerfile
    assert '.ci/torch python3 "$TORCH" download' in dockerfile
    assert '.ci/torch $(VENV)/bin/python "$(TORCH)" install' in makefile
    assert not re.search(
        r"pip (install|download)[^\n]*\$\(?TORCH", makefile + dockerfile.replace("--no-index", "\n")
    )


def test_page_on_dependencies_names_what_is_there():
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in project["dependencies"]:
        assert re.match(r"[\w-]+", requirement)[0] in page.lower(), requirement
    for row in re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE):
        head, _, rest = row.partition("{")
        names, _, tail = rest.partition("}")
        assert all((ROOT / f"{head}{name}{tail}").exists() for name in names.split(",")), row
