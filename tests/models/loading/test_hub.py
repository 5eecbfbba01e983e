"""A model that the hub does not hand out is refused in one line, which says what to do."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from harness.errors import HarnessError
from harness.models.loading import hub


@pytest.mark.parametrize(
    ("kind", "got", "advice"),
    [
        (
            GatedRepoError,
            "a repository whose licence has to be accepted first",
            "accept the licence on the model's page and set HF_TOKEN, or name another model",
        ),
        (
            RepositoryNotFoundError,
            "no such repository, or one that needs a login",
            "check the name, set HF_TOKEN where the model needs a login, or name",
        ),
        (
            RevisionNotFoundError,
            "no such revision",
            "check the name, the revision and the network, or name a local folder",
        ),
    ],
)
def test_model_that_the_hub_refuses(monkeypatch, kind, got, advice):
    def refuse(*_words, local_files_only=False, **_options):
        if local_files_only:
            raise hub.LocalEntryNotFoundError("no copy")
        raise kind("403\n\nand more lines", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(hub, "resume_files", lambda *_: None)
    monkeypatch.setattr(hub, "snapshot_download", refuse)
    with pytest.raises(HarnessError) as error:
        hub.locate_pinned("org/name")
    expected = f"model 'org/name': expected revision main from the hub or its cache; got {got}; {advice}"
    assert str(error.value).startswith(expected)
    assert "\n" not in str(error.value)
