"""What a score's signature calls its data."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.data import builtin
from harness.data.folder import read_task
from harness.stages.io.scores import name_data


def test_data_of_a_folder_has_one_name_however_its_path_is_written(write_data, tmp_path, monkeypatch):
    data = write_data(tmp_path / "data")
    shutil.copytree(data, tmp_path / "builtin")
    monkeypatch.chdir(tmp_path)
    roots = (data, Path("data"), Path("./data"), Path("../") / tmp_path.name / "data", Path("builtin"))
    (name,) = {name_data(read_task(root, "topic", "mt")) for root in roots}
    assert name.startswith("folder#")
    assert name_data(builtin.read_task("topic", "mt", (4, 2, 2), 1)).startswith("builtin#")
