"""Model folders on the hub: found in the local cache, or fetched."""

from __future__ import annotations

import errno
import re
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from harness.downloads import ANSWER_S, describe_fault, discard_damaged, fetch_checked, resume_download
from harness.errors import HarnessError
from harness.models.loading.folder import WEIGHT_FILES, model_error
from harness.models.loading.licence import CARD
from harness.models.loading.tokenizer import TOKENIZER_FILES

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_TOKENIZER_SETTINGS = ("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_FETCHED = (CARD, "config.json", "*.safetensors*", *TOKENIZER_FILES, *_TOKENIZER_SETTINGS)


def locate_model(source: str | Path, revision: str | None = None) -> Path:
    """Return the local folder of a model, after fetching a hub id's files (never pickles) where needed.

    Args:
        source: a folder, or a hub id ``organisation/name``.
        revision: the commit, tag or branch of a hub id; a folder has none.

    Raises:
        HarnessError: no such folder, no revision for a hub id, or a hub that does not have it.
    """
    folder, name = Path(source), str(source)
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(name):
        raise model_error(name, "a folder or a hub id", "neither", "check the path")
    if revision is None:
        expected, got = "a folder, or a hub id with its revision", "no such folder and no revision"
        raise model_error(name, expected, got, "check the path, or pin the hub id to a commit")
    return _find_cached(name, revision) or _fetch(name, revision)


def locate_pinned(source: str) -> tuple[str, Path]:
    """Return the local folder of ``organisation/name[@revision]``, and the hub id with the commit.

    Without a revision it is the commit that the main branch has now.

    Raises:
        HarnessError: the hub does not have it, and no copy of it is in the cache.
    """
    hub_id, _, revision = source.partition("@")
    folder = locate_model(hub_id, revision or "main")
    return f"{hub_id}@{folder.resolve().name}", folder


def _find_cached(hub_id: str, revision: str) -> Path | None:
    """Return the snapshot in the cache where it is whole; a pinned commit never changes."""
    try:
        folder = Path(
            snapshot_download(hub_id, revision=revision, allow_patterns=list(_FETCHED), local_files_only=True)
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    whole = any((folder / file).is_file() for file in WEIGHT_FILES) and not discard_damaged(folder)
    return folder if whole else None


def _fetch(hub_id: str, revision: str) -> Path:
    def download() -> Path:
        if not constants.HF_HUB_OFFLINE:
            resume_files(hub_id, revision)
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(_FETCHED)))

    try:
        return fetch_checked(download, f"the model {hub_id}", "try again later, or name a local folder")
    except HarnessError:
        raise
    except Exception as error:  # the hub's client raises whatever its transport raises
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        expected = f"revision {revision} from the hub or its cache"
        raise model_error(hub_id, expected, describe_fault(error), _advise(error)) from error


def resume_files(hub_id: str, revision: str) -> None:
    """Fetch the files of a model after the bytes that an earlier process has left in the cache."""
    listed = HfApi().model_info(hub_id, revision=revision, timeout=ANSWER_S)
    for name in (one.rfilename for one in listed.siblings or ()):
        if any(fnmatch(name, pattern) for pattern in _FETCHED):
            resume_download(hub_id, name, revision=str(listed.sha))


def _advise(error: Exception) -> str:
    """Return what to do about a model that the hub does not hand out."""
    if isinstance(error, GatedRepoError):
        return "accept the licence on the model's page and set HF_TOKEN, or name another model"
    if isinstance(error, RepositoryNotFoundError):
        return "check the name, set HF_TOKEN where the model needs a login, or name a local folder"
    return "check the name, the revision and the network, or name a local folder"
