"""What a stage leaves beside its outputs: what it was, what it read, what it wrote, where and when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.config.digest import digest
from harness.errors import HarnessError
from harness.pipeline.hashing import hash_file

SCHEMA_VERSION = 1
NAME = "manifest.json"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Environment(_Frozen):
    """Where a stage ran, as the caller knows it; absent is None."""

    commit: str | None = None
    dirty: bool | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    device: str | None = None
    threads: int | None = None
    ops: Literal["compiled", "reference"] | None = None


class Input(_Frozen):
    """One input: an earlier stage by key, or something from outside by path; and what it held."""

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
        resumed: an earlier attempt left checkpoints; `wall_s` and the peak are of the last attempt alone.
        facts: what the runner reports of its work, for the report to read.
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
        """What the outputs are, in one digest; what a later stage records of its input."""
        return digest({name: output.sha256 for name, output in self.outputs.items()})

    def to_text(self) -> str:
        """Gives the file's text, its own digest included.

        Raises:
            HarnessError: the config or the facts hold what JSON cannot, as NaN.
        """
        try:
            content = self.model_dump(mode="json", fallback=_refuse)
            return _text(content | {"digest": digest(content)})
        except ValueError as error:
            raise HarnessError(f"{self.stage}: the manifest cannot be written: {error}") from None


def _refuse(value: object) -> object:
    raise ValueError(f"wanted JSON types in facts and config; got a {type(value).__name__}")


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read(folder: Path) -> Manifest:
    """Gives a stage folder's manifest.

    What holds: what is read is, byte for byte, what `Manifest.to_text` wrote.

    Raises:
        ValueError: it is missing, cut, edited or of another schema; the message says which, in one line.
    """
    path = folder / NAME
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
        recorded = content.pop("digest")
        if content.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"{NAME} has schema {content.get('schema_version')}, wanted {SCHEMA_VERSION}")
        if digest(content) != recorded or text != _text(content | {"digest": recorded}):
            raise ValueError(f"{NAME} is not as it was written")
        return Manifest.model_validate(content)
    except FileNotFoundError:
        raise ValueError(f"{NAME} is missing") from None
    except ValidationError as error:
        raise ValueError(f"{NAME} lacks or has a wrong {error.errors()[0]['loc'][0]}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, AttributeError, TypeError, RecursionError):
        raise ValueError(f"{NAME} is not readable") from None


def find_problems(folder: Path, manifest: Manifest, *, rehash: bool = True) -> list[tuple[Path, str]]:
    """Gives each output that is not as the manifest says: missing, of another size, or of other bytes.

    Args:
        folder: the stage's folder.
        manifest: what it should hold.
        rehash: read every byte; otherwise compare sizes alone.
    """
    problems = []
    for name, output in manifest.outputs.items():
        path = folder / name
        if not path.is_file():
            problems.append((path, "is missing"))
        elif path.stat().st_size != output.bytes:
            problems.append((path, f"has {path.stat().st_size} bytes, {output.bytes} were written"))
        elif rehash and hash_file(path) != output.sha256:
            problems.append((path, "has other bytes than were written"))
    return problems
