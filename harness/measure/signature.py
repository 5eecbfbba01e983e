"""What a score is a score of, in one line: enough to tell whether two scores may stand side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Signature:
    """The signature of the scores of one model on one task.

    Invariants: equal signatures mean the same model, scored in the same way on the same items; and the same
    model, scored so again, has an equal one.

    Attributes:
        task: its name.
        language: its code.
        data: source, revision where there is one, and the digest of all its parts.
        split: which part was scored.
        n_items: how many items it has.
        protocol: how the model learnt the task, as ``full,epochs=6,…``.
        seeds: in the order of the values.
        model: digest of weights, config and tokenizer, however often they were saved.
        versions: of what computed it.
    """

    task: str
    language: str
    data: str
    split: str
    n_items: int
    protocol: str
    seeds: Sequence[int]
    model: str
    versions: Mapping[str, str]

    def __str__(self) -> str:
        parts = {
            "task": self.task,
            "lang": self.language,
            "data": self.data,
            "split": self.split,
            "n": self.n_items,
            "protocol": self.protocol,
            "seeds": ",".join(map(str, self.seeds)),
            "model": self.model,
            **{name: self.versions[name] for name in sorted(self.versions)},
        }
        return "|".join(f"{name}:{_plain(str(value))}" for name, value in parts.items())


def _plain(value: str) -> str:
    return value.replace("|", "/").replace("\n", " ")


def protocol_text(method: str, settings: Mapping[str, object]) -> str:
    """Print a protocol: its method, then its settings by name; those unset are left out."""
    told = (f"{name}={settings[name]}" for name in sorted(settings) if settings[name] is not None)
    return ",".join((method, *told))
