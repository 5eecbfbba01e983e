"""Pushing to the hub: what goes there, and what is refused; nothing here reaches a network."""

from __future__ import annotations

import pytest

from harness.cli.app import app
from harness.deploy.push import plan_upload, send_upload
from harness.errors import HarnessError, UsageError


class FakeHub:
    """Keeps what it is asked for."""

    def __init__(self):
        self.calls = []

    def create_repo(self, repo_id, **settings):
        self.calls.append(("create", repo_id, settings))

    def upload_folder(self, **settings):
        self.calls.append(("folder", settings["repo_id"], settings))

    def upload_file(self, **settings):
        self.calls.append(("file", settings["path_in_repo"], settings))


def write(folder, *names):
    """Write files with their names as content."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def student(tmp_path):
    """A student's folder, with files that stay at home."""
    return write(
        tmp_path,
        "README.md",
        "config.json",
        "model.safetensors",
        "manifest.json",
        ".cache/x",
        "checkpoints/1/a",
    )


def test_student_goes_as_a_private_model(student):
    upload, hub = plan_upload(student, "me/small-mt"), FakeHub()
    assert list(upload.files) == ["README.md", "config.json", "model.safetensors"]
    assert send_upload(upload, hub) == "https://huggingface.co/me/small-mt"
    (_, name, created), (_, _, sent) = hub.calls
    assert (name, created["repo_type"], created["private"]) == ("me/small-mt", "model", True)
    assert sent["allow_patterns"] == list(upload.files)


def test_page_goes_as_a_static_space(tmp_path):
    upload, hub = (
        plan_upload(write(tmp_path, "site.json", "index.html", "model/config.json"), "me/demo"),
        FakeHub(),
    )
    send_upload(upload, hub, private=False)
    assert hub.calls[0][2]["space_sdk"] == "static"
    assert hub.calls[2][1] == "README.md"
    assert b"sdk: static" in hub.calls[2][2]["path_or_fileobj"]


def test_run_goes_as_its_results_alone(tmp_path):
    upload = plan_upload(write(tmp_path, "results.json", "report.md", "01-tasks-abc/pos.json"), "me/results")
    assert upload.kind == "dataset"
    assert list(upload.files) == ["report.md", "results.json"]


@pytest.mark.parametrize("name", ["x", "a/b/c", "/x", "a/", "ä/b", "a/b c"])
def test_name_without_organisation_is_refused(name, student):
    with pytest.raises(UsageError, match="push: expected a repository as ORG/NAME"):
        plan_upload(student, name)


def test_folders_that_the_hub_cannot_show_are_refused(tmp_path, student):
    with pytest.raises(HarnessError, match=r"push: expected a folder at .*; got none"):
        plan_upload(tmp_path / "none", "a/b")
    with pytest.raises(HarnessError, match="push: expected a model's folder, an export"):
        plan_upload(write(tmp_path / "other", "x.txt"), "a/b")
    (student / "README.md").unlink()
    with pytest.raises(HarnessError, match=r"push: expected the card README\.md in"):
        plan_upload(student, "a/b")


def test_refusal_of_the_hub_is_one_line(student):
    class Refusing(FakeHub):
        def create_repo(self, *_, **__):
            raise ConnectionError("many\nlines")

    with pytest.raises(
        HarnessError, match="expected the hub to take a/b; got no connection; log in"
    ) as raised:
        send_upload(plan_upload(student, "a/b"), Refusing())
    assert "\n" not in str(raised.value)


def test_dry_run_sends_nothing(student, capsys):
    app(args=["push", str(student), "me/small-mt", "--dry-run"], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "model.safetensors" in printed
    assert "3 files, 37 B, private; nothing was sent" in printed
