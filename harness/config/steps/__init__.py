"""The kinds of step that a recipe may have: each is one module of this package.

A module states the schema of a recipe's entry, named as the module is (``Prune`` in ``prune``, with
``kind = "prune"``), and the resolved form that the step's stage receives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from harness.config.steps.base import Step

_SHARED = "base"


def _find_kinds() -> Iterator[type[Step]]:
    for module in iter_modules(__path__):
        if module.name != _SHARED:
            kind: type[Step] = getattr(import_module(f"{__name__}.{module.name}"), module.name.capitalize())
            yield kind


KINDS: Mapping[str, type[Step]] = MappingProxyType({kind.kind: kind for kind in _find_kinds()})
"""Kind → its schema, in the order of the names."""
