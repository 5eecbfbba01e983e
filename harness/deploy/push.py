"""Put a student, an export, a run's results or the demo's page on the hub, or show what would go there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from harness.downloads import describe_fault
from harness.errors import HarnessError, UsageError
from harness.export.record import RECORD, is_export
from harness.pipeline.manifest import NAME

CARD = "README.md"
SITE = "site.json"
"""The file that marks the page of `harness demo`."""
RESULTS = "results.json"
Kind = Literal["model", "dataset", "space"]
_SPACE_CARD = """---
title: {title}
emoji: 🔤
colorFrom: blue
colorTo: green
sdk: static
app_file: index.html
pinned: false
---

The page of `harness demo`: the model runs in the browser.
"""
_RESULTS_CARD = """---
tags: [evaluation]
---

The report and the results of a run of the harness: `report.html`, `report.md`, `{results}`.
"""


class Hub(Protocol):
    """What of ``huggingface_hub.HfApi`` is used."""

    def create_repo(
        self, repo_id: str, *, repo_type: str, private: bool, exist_ok: bool, space_sdk: str | None
    ) -> object:
        """Make the repository where it is missing."""

    def upload_folder(
        self,
        *,
        repo_id: str,
        repo_type: str,
        folder_path: Path,
        allow_patterns: list[str],
        commit_message: str,
    ) -> object:
        """Upload files of a folder in one commit."""

    def upload_file(
        self, *, path_or_fileobj: bytes, path_in_repo: str, repo_id: str, repo_type: str
    ) -> object:
        """Upload one file."""


@dataclass(frozen=True)
class Upload:
    """What goes to the hub.

    Attributes:
        folder: of the files.
        repository: ``organisation/name``.
        kind: of the repository: a model, a data set (of results) or a Space.
        files: relative to the folder, with their sizes in bytes.
        card: the text of a card that the folder lacks; None where it has one.
    """

    folder: Path
    repository: str
    kind: Kind
    files: Mapping[str, int]
    card: str | None

    @property
    def size_bytes(self) -> int:
        """The size of all files."""
        return sum(self.files.values())

    @property
    def url(self) -> str:
        """Where it will be."""
        prefix = {"model": "", "dataset": "datasets/", "space": "spaces/"}[self.kind]
        return f"https://huggingface.co/{prefix}{self.repository}"


def plan_upload(folder: Path, repository: str) -> Upload:
    """Return what would be uploaded of a folder; nothing is sent.

    Hidden files, checkpoints and manifests stay. A folder of `harness demo --out` becomes a static Space, a
    run a data set of its report and results, any other folder a model.


    Raises:
        UsageError: the repository is no ``organisation/name``.
        HarnessError: there is no such folder, or nothing in it that the hub could show.
    """
    organisation, slash, name = repository.partition("/")
    if not (organisation and slash and name) or "/" in name or not repository.isascii() or " " in repository:
        raise UsageError(f"push: expected a repository as ORG/NAME; got '{repository}'; name one")
    if not folder.is_dir():
        raise HarnessError(f"push: expected a folder at {folder}; got none; name one that exists")
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and _is_public(path.relative_to(folder))
    }
    if SITE in files:
        card = None if CARD in files else _SPACE_CARD.format(title=name.replace("-", " "))
        return Upload(folder, repository, "space", files, card)
    if RESULTS in files and "report.md" in files:
        shown = {name: size for name, size in files.items() if "/" not in name}
        return Upload(folder, repository, "dataset", shown, _RESULTS_CARD.format(results=RESULTS))
    if "config.json" not in files or not (is_export(folder) or "model.safetensors" in files):
        raise HarnessError(
            f"push: expected a model's folder, an export ({RECORD}), a run's folder or the page of "
            f"`harness demo --out`; {folder} is none; name one of them"
        )
    if CARD not in files:
        raise HarnessError(
            f"push: expected the card {CARD} in {folder}; got none; write one, or push the folder 'student' "
            "of a finished run"
        )
    return Upload(folder, repository, "model", files, None)


def _is_public(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and path.name != NAME and "checkpoints" not in path.parts


def send_upload(upload: Upload, hub: Hub, *, private: bool = True) -> str:
    """Upload; return the address.

    Raises:
        HarnessError: the hub refused, or could not be reached.
    """
    sdk = "static" if upload.kind == "space" else None
    try:
        hub.create_repo(
            upload.repository, repo_type=upload.kind, private=private, exist_ok=True, space_sdk=sdk
        )
        hub.upload_folder(
            repo_id=upload.repository,
            repo_type=upload.kind,
            folder_path=upload.folder,
            allow_patterns=list(upload.files),
            commit_message="Upload by harness push",
        )
        if upload.card is not None:
            hub.upload_file(
                path_or_fileobj=upload.card.encode(),
                path_in_repo=CARD,
                repo_id=upload.repository,
                repo_type=upload.kind,
            )
    except Exception as error:  # the hub's client raises whatever its transport raises
        raise HarnessError(
            f"push: expected the hub to take {upload.repository}; got {describe_fault(error)}; log in with "
            "`hf auth login`, check the name and the network, and push again"
        ) from error
    return upload.url
