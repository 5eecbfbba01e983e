"""The licences that a card's head may name on the hub, which refuses a card with another.

Source: the hub's documentation, page *Licenses*.
"""

from __future__ import annotations

import re

_UNKNOWN, _OTHER = "unknown", "other"
_IDENTIFIERS = frozenset((
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bigcode-openrail-m",
    "bigscience-bloom-rail-1.0", "bigscience-openrail-m", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "bsl-1.0", "c-uda", "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0",
    "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0",
    "creativeml-openrail-m", "deepfloyd-if-license", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0",
    "eupl-1.1", "gemma", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "isc", "lgpl", "lgpl-2.1", "lgpl-3.0",
    "lgpl-lr", "llama2", "lppl-1.3c", "mit", "mpl-2.0", "ms-pl", "ncsa", "odbl", "odc-by", "ofl-1.1",
    "openrail", "openrail++", "osl-3.0", "other", "pddl", "postgresql", "unknown", "unlicense", "wtfpl",
    "zlib",
))  # fmt: skip


def name_licence(text: str | None) -> tuple[str, str | None]:
    """Return the hub's identifier of a licence, and its name where that is ``other``.

    Upper case and spaces make no difference: ``CC BY 4.0`` is ``cc-by-4.0``.
    """
    slug = re.sub(r"[^a-z0-9.+]+", "-", (text or "").lower()).strip("-")
    if not slug:
        return _UNKNOWN, None
    return (slug, None) if slug in _IDENTIFIERS else (_OTHER, slug)
