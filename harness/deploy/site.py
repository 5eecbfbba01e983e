"""An exported model as a static web page, for any web server; the page asks no other host."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import harness
from harness.data import builtin
from harness.data.builtin.corpus import read_corpus
from harness.errors import HarnessError, unknown
from harness.export.record import ReadExport
from harness.languages import LANGUAGES
from harness.paths import stays_below
from harness.tasks import TASKS

WEB = Path(harness.__file__).resolve().parent / "web"
LIBRARIES = (
    "onnxruntime-web/dist/ort.wasm.min.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
    "@huggingface/tokenizers/dist/tokenizers.min.mjs",
)
PAGE = ("index.html", "style.css", "app.js", "model.js", "tokenize.js", "characters.js", "offline.js")
TITLES = {name: row.page_title for name, row in TASKS.items() if row.page_title is not None}
"""What the page calls each task that it can show: those that label one text."""
_EXAMPLE_SEED = 1
_MODEL = ("config.json", "tokenizer.json", "tokenizer_config.json")


def write_site(
    folder: Path, record: ReadExport, target: Path, *, precision: str | None = None, web: Path = WEB
) -> Path:
    """Write the page, its libraries and the model into one folder; return that folder.

    Invariants: every file that the page asks for is in the folder and in ``site.json``.

    Args:
        folder: an export.
        record: its ``export.json``, as `harness.export.record.read_export` returns it.
        target: where to write; made where missing.
        precision: of the file; None takes the export's default.
        web: the folder ``harness/web``, with ``node_modules``.

    Raises:
        UsageError: the export has no such precision.
        HarnessError: a task without labels or of two texts, a link out of the export, or libraries that are
            not installed.
    """
    if record.task not in TITLES:
        raise HarnessError(
            f"demo: expected a model that labels one text; got the task '{record.task}'; "
            f"export one of {', '.join(TITLES)}"
        )
    rows = {row.precision: row for row in record.files}
    chosen = precision or record.default
    if chosen not in rows:
        raise unknown("precision of this export", chosen, rows)
    row = rows[chosen]
    file = row.file.removesuffix(".ort") + (".onnx" if row.file.endswith(".ort") else "")
    sources = {f"model/{name}": folder / name for name in (*_MODEL, file)}
    _check_links(sources.values(), folder)
    sources |= {name: web / "page" / name for name in PAGE}
    sources |= {f"libraries/{Path(name).name}": web / "node_modules" / name for name in LIBRARIES}
    _check_files(sources)
    for name, source in sources.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target / name)
    site = {
        "title": _make_title(record.task, record.language),
        "language": record.language,
        "example": draw_example(record.language),
        "task": record.task,
        "file": file,
        "precision": chosen,
        "size_bytes": row.size_bytes,
        "files": ["./", "site.json", *sources],
    }
    (target / "site.json").write_text(json.dumps(site, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return target


def _make_title(task: str, language: str | None) -> str:
    """Return the title: the task, and the language where it is known."""
    known = LANGUAGES.get(language or "")
    name = known.name if known else language
    return f"{TITLES[task]}, {name}" if name else TITLES[task]


def draw_example(language: str | None) -> str | None:
    """Return a sentence of a built-in language to try the model on; None for another language."""
    if language not in builtin.LANGUAGES:
        return None
    return next(iter(read_corpus(language, 1, _EXAMPLE_SEED)))[0]


def _check_links(paths: Iterable[Path], folder: Path) -> None:
    """Refuse a link out of the export: a page must not hold another file of this machine."""
    for path in paths:
        if not stays_below(path, folder):
            raise HarnessError(
                f"demo: expected files of the export {folder}; got '{path.name}', a link out of it; "
                "export again"
            )


def _check_files(sources: Mapping[str, Path]) -> None:
    missing = [name for name, source in sources.items() if not source.is_file()]
    if not missing:
        return
    if missing[0].startswith("model/"):
        raise HarnessError(
            f"demo: expected {missing[0].removeprefix('model/')} in the export; got none; export again"
        )
    raise HarnessError(
        f"demo: expected the page's {missing[0]}; got none; run `make web` in a checkout (needs npm)"
    )
