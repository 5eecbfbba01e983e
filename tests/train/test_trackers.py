"""Trackers: known names, packages that are there, and callbacks that follow each training of a run."""

from __future__ import annotations

import pytest
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from harness import api
from harness.errors import UsageError
from harness.train import trackers
from harness.train.trackers import check_trackers, make_trackers


class Follower(TrainerCallback):
    """Keeps what every training logs."""

    logged: list[dict] = []  # noqa: RUF012  the library makes the objects
    logging_dir = None

    def on_log(self, *_, logs=None, **__):
        self.logged.append(dict(logs, folder=self.logging_dir))


@pytest.fixture
def installed(monkeypatch):
    """Let trackio be installed, and followed by `Follower`."""
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "trackio", Follower)
    monkeypatch.setattr(trackers, "is_installed", lambda _: True)
    monkeypatch.setattr(Follower, "logged", [])


def test_unknown_tracker_is_refused():
    with pytest.raises(UsageError, match=r"unknown tracker 'mlfow'; there are: .* Did you mean 'mlflow'"):
        check_trackers(["mlfow"])


def test_tracker_without_its_package_is_refused(monkeypatch):
    monkeypatch.setattr(trackers, "is_installed", lambda _: False)
    with pytest.raises(UsageError, match=r"--track mlflow: expected the package mlflow; .*; pip install"):
        check_trackers(["mlflow"])


def test_no_tracker_is_the_default(tmp_path):
    assert check_trackers(()) == ()
    assert make_trackers((), tmp_path) == []


@pytest.fixture
def run(tmp_path, write_scale, write_recipe, write_data, write_teacher):
    """Return a function that runs two trainings, followed by trackers."""
    steps = [{"adapt": {}}, {"distill": {"teacher": "teacher", "loss": {"logit_mse": 1.0}}}]
    data, teacher = write_data(tmp_path / "data"), str(write_teacher(tmp_path / "teacher"))
    settings = {
        "recipe": str(write_recipe(tmp_path, steps)),
        "scale": write_scale(tmp_path),
        "options": api.ScaleOptions(data=data, teacher=teacher, score="none"),
    }
    return lambda name, *names: api.reproduce("mt", runs=tmp_path / name, trackers=names, **settings)


def test_trackers_follow_every_training(installed, run):
    del installed
    followed = run("followed", "trackio")
    folders = {entry["folder"] for entry in Follower.logged}
    assert len(folders) == 2
    assert all(str(followed.folder / "tensorboard") in folder for folder in folders)
