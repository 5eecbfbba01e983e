"""Stages and their order; every key is known before any stage runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.config.digest import digest
from harness.errors import HarnessError
from harness.pipeline.hashing import hash_path

KEY_LENGTH = 12


@dataclass(frozen=True)
class Stage:
    """One unit of work: it reads its inputs and writes a folder.

    Attributes:
        id: its name in the plan, as ``distill-2``.
        kind: the name of its runner.
        version: raised when the runner's code changes the outputs.
        config: everything but the inputs that decides the outputs; JSON types.
        inputs: by role, the id of an earlier stage, or a file or folder from outside.
        means: settings that do not change the outputs, such as how much memory to use; the runner finds them
            in the config, but they are not part of the key.
        step: the typed object that the config was written from, which the runner receives as it is; None
            where there is no such object.
        alone: whether it measures time, so that no other stage of the run may run at the same moment.
    """

    id: str
    kind: str
    version: int
    config: Mapping[str, Any]
    inputs: Mapping[str, str | Path]
    means: Mapping[str, Any] = field(default_factory=dict)
    step: object = None
    alone: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """The config of the runner: the config and the means."""
        return {**self.config, **self.means}


class Plan:
    """Stages, each after its inputs.

    Args:
        stages: in order.
        digests: of files and folders from outside that other plans have read; those that this plan reads are
            added.

    Raises:
        HarnessError: an id is not a valid file name or appears twice, or an input is not an earlier stage.
    """

    def __init__(self, stages: Sequence[Stage], digests: dict[Path, str] | None = None) -> None:
        self.stages = tuple(stages)
        self._digests = {} if digests is None else digests
        seen: list[str] = []
        for stage in self.stages:
            _check(stage, seen)
            seen.append(stage.id)

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    @cached_property
    def external(self) -> dict[Path, str]:
        """The content digest of every file and folder from outside; read once."""
        digests: dict[Path, str] = {}
        for stage in self.stages:
            for role, source in stage.inputs.items():
                if isinstance(source, Path) and source not in digests:
                    if source in self._digests:
                        digests[source] = self._digests[source]
                        continue
                    if not source.exists():
                        raise HarnessError(
                            f"{stage.id}: expected the input '{role}' at {source}; got none; put it there"
                        )
                    digests[source] = self._digests[source] = hash_path(source)
        return digests

    @cached_property
    def keys(self) -> dict[str, str]:
        """The key of every stage.

        Invariants: two stages have one key iff their kinds, versions, configs and, recursively, inputs are
        equal, whatever their ids and means.
        """
        keys: dict[str, str] = {}
        for stage in self.stages:
            sources = {
                role: {"key": keys[source]} if isinstance(source, str) else {"digest": self.external[source]}
                for role, source in stage.inputs.items()
            }
            content = {
                "kind": stage.kind,
                "version": stage.version,
                "config": stage.config,
                "inputs": sources,
            }
            keys[stage.id] = digest(content)[:KEY_LENGTH]
        return keys


def _check(stage: Stage, earlier: Sequence[str]) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.]*(-[a-z0-9_.]+)*", stage.id):
        raise HarnessError(f"plan: expected a stage id of letters, digits and dashes; got '{stage.id}'")
    if stage.id in earlier:
        raise HarnessError(f"plan: expected unique stage ids; got '{stage.id}' twice; rename one")
    for role, source in stage.inputs.items():
        if isinstance(source, str) and source not in earlier:
            raise HarnessError(
                f"plan: {stage.id}: expected an earlier stage as input '{role}'; got '{source}'; "
                f"there are: {', '.join(earlier) or 'none'}"
            )
