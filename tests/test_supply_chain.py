"""The bill of materials lists what is installed, with its hashes; releases, images and CI use it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_bill_lists_every_package_of_the_lock_with_its_hashes():
    ended = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "sbom"), "torch==2.13.0"],
        capture_output=True,
        text=True,
        check=True,
    )
    bill = json.loads(ended.stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    lock = (ROOT / "requirements.lock").read_text()
    locked = dict(re.findall(r"^([\w.-]+)==([^ \\]+)", lock, re.MULTILINE))
    listed = {one["name"]: one for one in bill["components"]}
    assert {name: one["version"] for name, one in listed.items()} == locked | {"torch": "2.13.0"}
    hashes = [entry["content"] for one in listed.values() for entry in one.get("hashes", ())]
    assert sorted(hashes) == sorted(re.findall(r"sha256:([0-9a-f]{64})", lock))
    assert len({one["bom-ref"] for one in listed.values()}) == len(listed)


def test_release_image_and_weekly_check_use_the_lock():
    assert ".ci/sbom torch" in (ROOT / ".github/workflows/release.yml").read_text()
    assert "pip-audit --require-hashes" in (ROOT / ".github/workflows/weekly.yml").read_text()
    assert "/venv/sbom.cdx.json" in (ROOT / "docker/Dockerfile").read_text()
