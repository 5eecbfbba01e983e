"""The name of the data in a score's signature."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.data import builtin
from harness.data.folder import read_task
from harness.stages.io.scores import name_data


def test_name_of_data_does_not_depend_on_its_path(write_data, tmp_path, monkeypatch):
    data = write_data(tmp_path / "data")
    shutil.copytree(data, tmp_path / "builtin")
    monkeypatch.chdir(tmp_path)
    roots = (data, Path("data"), Path("./data"), Path("../") / tmp_path.name / "data", Path("builtin"))
    (name,) = {name_data(read_task(root, "topic", "mt")) for root in roots}
    assert name.startswith("folder#")
    assert name_data(builtin.read_task("topic", "mt", (4, 2, 2), 1)).startswith("builtin#")
