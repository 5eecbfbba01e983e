"""Make the links that leave `docs/` work on the site; show the notebooks, and the figures of the records."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
FIGURES = "benchmarks/records"
NOTEBOOKS = "docs/notebooks"
_LINK = re.compile(r"\]\(\.\./(?P<path>[^)#\s]+)(?P<anchor>#[^)]*)?\)")
_NOTEBOOK = re.compile(r"\]\((notebooks/[\w-]+)\.ipynb\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the figures of the records to the site, and a page for each notebook."""
    for path in sorted((ROOT / FIGURES).glob("*.svg")):
        files.append(File.generated(config, f"{FIGURES}/{path.name}", abs_src_path=str(path)))
    for path in sorted((ROOT / NOTEBOOKS).glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=_render_notebook(path)))
    return files


def _render_notebook(path: Path) -> str:
    """Return the cells of a notebook as a page of Markdown, with a link to the file."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = [
        "".join(cell["source"])
        if cell["cell_type"] == "markdown"
        else f"```python\n{''.join(cell['source'])}\n```"
        for cell in cells
    ]
    return "\n\n".join([*texts, f"[This notebook as a file](../{NOTEBOOKS}/{path.name})"]) + "\n"


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Let links to other files of the repository lead there.

    Raises:
        PluginError: there is no such file.
    """

    def replace(link: re.Match[str]) -> str:
        path, anchor = link["path"], link["anchor"] or ""
        if not (ROOT / path).exists():
            raise PluginError(f"{page.file.src_path}: expected a file of the repository; got ../{path}")
        if path.startswith(FIGURES) and path.endswith(".svg"):
            return f"]({path})"
        return f"]({config['repo_url'].rstrip('/')}/blob/main/{path}{anchor})"

    return _LINK.sub(replace, _NOTEBOOK.sub(r"](\1.md)", markdown))
