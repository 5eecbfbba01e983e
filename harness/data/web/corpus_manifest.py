"""The manifest of a corpus: what it was made from, what was dropped, and the digests of its files."""

from __future__ import annotations

from collections import Counter
from typing import Any

from harness.data.web.workspace import Workspace
from harness.json_files import read_json

SCHEMA_VERSION = 1


def describe_language(workspace: Workspace, language: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a language; it has no times and no paths: equal inputs have an equal one."""
    digests = workspace.root / "digests"
    counts: Counter[str] = Counter()
    shards = []
    for path in sorted(digests.glob("*.written.json")):
        record = read_json(path)
        counts.update(record["counts"].get(language, {}))
        shards += [record["shards"][language]] if language in record["shards"] else []
    read = sum(read_json(path)["documents"].get(language, 0) for path in sorted(digests.glob("*.read.json")))
    sources: dict[str, Any] = {}
    for path in sorted(digests.glob("?????.json")):
        sources |= read_json(path)
    return {
        "schema_version": SCHEMA_VERSION,
        "language": language,
        "settings": settings | {"labels": settings["labels"][language]},
        "documents": {
            "read": read,
            "near_duplicates": read - counts["unique"],
            "empty": counts["empty"],
            "kept": counts["unique"] - counts["empty"],
        },
        "scored_lines": counts["scored_lines"],
        "shards": shards,
        "sources": [{"name": name, **sources[name]} for name in sorted(sources)],
    }
