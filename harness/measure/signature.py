"""The signature of a score, in one line: whether two scores may be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Signature:
    """The signature of the scores of one model on one task.

    Invariants: equal signatures mean the same model, scored in the same way on the same items; the same
    model, scored again in this way, has an equal signature.

    Attributes:
        task: its name.
        language: its code.
        data: source, revision where there is one, and the digest of all its parts.
        split: the part that was scored.
        n_items: how many items it has.
        protocol: how the model was fine-tuned, as ``full,epochs=6,…``.
        seeds: in the order of the values.
        model: digest of weights, config and tokenizer; saving them again does not change it.
        versions: of the packages that computed it.
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


def format_protocol(method: str, settings: Mapping[str, object]) -> str:
    """Return a protocol as text: its method, then its settings by name; unset settings are left out."""
    items = (f"{name}={settings[name]}" for name in sorted(settings) if settings[name] is not None)
    return ",".join((method, *items))
