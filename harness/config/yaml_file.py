"""Read YAML of a stranger within bounds: of size, depth, and what its aliases expand to."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UsageError

MOST_BYTES = 256 * 1024
MOST_ENTRIES = 20_000
"""Keys and values of a document, with every alias written out."""
DEEPEST = 40
_ADVICE = "split it into several files"


def read_yaml(path: Path) -> Any:
    """Return the value of a YAML file, with text as keys.

    Raises:
        UsageError: it is not UTF-8 or not YAML, has a key twice, or exceeds a bound; the line says which.
    """
    with path.open("rb") as file:
        raw = file.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise _exceed(path.name, f"{MOST_BYTES:,} bytes", "more")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path.name}: expected UTF-8 text; byte {error.start} is not; save it as UTF-8"
        ) from None
    return parse_yaml(text, path.name)


def parse_yaml(text: str, place: str) -> Any:
    """Return the value of YAML text, with text as keys; messages name `place`.

    Raises:
        UsageError: as `read_yaml`.
    """
    try:
        _check_events(text, place)
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return None
            _check_nodes(root, place)
            return _turn_keys_into_text(loader.construct_document(root))
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UsageError(f"{place}: {line}not valid YAML: {problem}") from None
    except (ValueError, OverflowError, RecursionError, TypeError, AttributeError) as error:
        reason = str(error).split(";")[0][:80] or type(error).__name__
        raise UsageError(
            f"{place}: not valid YAML: a value that cannot be read ({reason}); put it in quotes"
        ) from None


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice, of which YAML would take the later."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(self.construct_object(key_node))
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key '{key}' is given twice", problem_mark=node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _check_events(text: str, place: str) -> None:
    """Refuse a document that is too deep or too long, before anything is built of it."""
    depth = 0
    for entries, event in enumerate(yaml.parse(text, yaml.SafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise _exceed(place, f"{DEEPEST} levels", "a deeper one")
        if entries > 2 * MOST_ENTRIES:
            raise _exceed(place, f"{MOST_ENTRIES:,} keys and values", "more")


def _check_nodes(root: yaml.Node, place: str) -> None:
    """Refuse aliases that expand to too much, or to themselves."""
    sizes: dict[int, int] = {}

    def measure(node: yaml.Node, above: frozenset[int]) -> int:
        if id(node) in above:
            raise UsageError(f"{place}: expected aliases of other parts; got one of itself; remove it")
        if id(node) not in sizes:
            inner = above | {id(node)}
            children = node.value if isinstance(node, yaml.CollectionNode) else ()
            flat = [one for child in children for one in (child if isinstance(child, tuple) else (child,))]
            sizes[id(node)] = 1 + sum(measure(child, inner) for child in flat)
            if sizes[id(node)] > MOST_ENTRIES:
                raise _exceed(place, f"{MOST_ENTRIES:,} keys and values, its aliases written out", "more")
        return sizes[id(node)]

    measure(root, frozenset())


def _exceed(place: str, bound: str, got: str) -> UsageError:
    return UsageError(f"{place}: expected YAML of at most {bound}; got {got}; {_ADVICE}")


def _turn_keys_into_text(value: Any) -> Any:
    """Return a value with every key as text: an unquoted ``564:`` is a number to YAML."""
    if isinstance(value, dict):
        return {str(key): _turn_keys_into_text(inner) for key, inner in value.items()}
    return [_turn_keys_into_text(entry) for entry in value] if isinstance(value, list) else value
