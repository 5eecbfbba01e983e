"""The manifest of a finished stage: its config, inputs, outputs, machine and time."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.config.digest import digest
from harness.errors import HarnessError
from harness.pipeline.folders import is_file, list_entries
from harness.pipeline.hashing import hash_file

SCHEMA_VERSION = 1
NAME = "manifest.json"
MOST_BYTES = 1 << 26


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Environment(_Frozen):
    """The machine and the code that a stage ran on; absent is None."""

    commit: str | None = None
    dirty: bool | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    device: str | None = None
    threads: int | None = None
    ops: Literal["compiled", "reference"] | None = None


class Input(_Frozen):
    """One input: an earlier stage by key, or a file or folder from outside by path; with its digest."""

    key: str | None = None
    path: str | None = None
    digest: str


class Output(_Frozen):
    """One written file."""

    sha256: str
    bytes: int


class Manifest(Environment):
    """A finished stage's provenance.

    Attributes:
        resumed: whether an earlier attempt left checkpoints; `wall_s` and the peak are of the last attempt.
        facts: what the runner reports of its work, for the report.
    """

    schema_version: Literal[1] = 1
    stage: str
    kind: str
    version: int
    key: str
    config: dict[str, Any]
    inputs: dict[str, Input]
    outputs: dict[str, Output]
    seed: int | None
    wall_s: float
    resumed: bool
    peak_memory_bytes: int | None
    facts: dict[str, Any]
    started_at: str

    @property
    def outputs_digest(self) -> str:
        """One digest of all outputs, which later stages record for this input."""
        return digest({name: output.sha256 for name, output in self.outputs.items()})

    def to_text(self) -> str:
        """Return the file's text, its own digest included.

        Raises:
            HarnessError: the config or the facts contain a value that JSON does not have, such as NaN.
        """
        try:
            content = self.model_dump(mode="json", fallback=_refuse)
            return _text(content | {"digest": digest(content)})
        except ValueError as error:
            raise HarnessError(f"{self.stage}: the manifest cannot be written: {error}") from None


def _refuse(value: object) -> object:
    raise ValueError(f"expected JSON types in facts and config; got a {type(value).__name__}")


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read(folder: Path) -> Manifest:
    """Read a stage folder's manifest.

    Invariants: the text is, byte for byte, what `Manifest.to_text` writes of its content; only the order of
    the keys of config and facts, which means nothing, is free.

    Raises:
        ValueError: the manifest is missing, truncated, edited or of another schema; the message is one line.
    """
    path = folder / NAME
    if not is_file(path):
        raise ValueError(f"{NAME} is {'no file' if os.path.lexists(path) else 'missing'}")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{NAME} has more than {MOST_BYTES} bytes")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        recorded = content.pop("digest")
        if content.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"{NAME} has schema {content.get('schema_version')}, expected {SCHEMA_VERSION}")
        if digest(content) != recorded or text != _text(content | {"digest": recorded}):
            raise ValueError(f"{NAME} is not as it was written")
        manifest = Manifest.model_validate(content)
        if manifest.to_text() != text:
            raise ValueError(f"{NAME} is not as it was written")
        return manifest
    except OSError as error:
        raise ValueError(f"{NAME} is not readable ({error.strerror or error})") from None
    except ValidationError as error:
        raise ValueError(f"{NAME} lacks or has a wrong {error.errors()[0]['loc'][0]}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, AttributeError, TypeError, RecursionError):
        raise ValueError(f"{NAME} is not readable") from None


def find_problems(folder: Path, manifest: Manifest, *, rehash: bool = True) -> list[tuple[Path, str]]:
    """Return each output that differs from the manifest: missing, a link, or with other bytes.

    Args:
        folder: the stage's folder.
        manifest: its manifest.
        rehash: whether to read every byte; otherwise only sizes are compared.
    """
    try:
        present = set(list_entries(folder))
    except OSError as error:
        return [(folder, f"is not readable ({error.strerror or error})")]
    problems = []
    for name, output in manifest.outputs.items():
        path = folder / name
        try:
            problem = _find_problem(path, output, rehash) if name in present else "is missing"
        except OSError as error:
            problem = f"is not readable ({error.strerror or error})"
        if problem is not None:
            problems.append((path, problem))
    return problems


def _find_problem(path: Path, output: Output, rehash: bool) -> str | None:
    if not is_file(path):
        return "is no file"
    size = path.stat().st_size
    if size != output.bytes:
        return f"has {size} bytes, {output.bytes} were written"
    return "has other bytes than were written" if rehash and hash_file(path) != output.sha256 else None


def list_unlisted(folder: Path, manifest: Manifest) -> list[str]:
    """Return what is in a stage's folder but not in its manifest; of an unlisted folder only itself."""
    folders = {f"{parent.as_posix()}/" for name in manifest.outputs for parent in PurePosixPath(name).parents}
    listed = folders | set(manifest.outputs) | {NAME}
    try:
        extra = sorted(name for name in list_entries(folder) if name not in listed)
    except OSError:
        return []
    return [name for name in extra if not any(name != one and name.startswith(one) for one in extra)]
