"""An exported model as a static web page, for any web server; the page asks no other host."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import harness
from harness.deploy.example_sentences import EXAMPLES
from harness.errors import HarnessError, unknown
from harness.export.record import ReadExport
from harness.json_files import write_json
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
_MODEL = ("config.json", "tokenizer.json", "tokenizer_config.json")


def write_site(
    folder: Path,
    record: ReadExport,
    target: Path,
    *,
    precision: str | None = None,
    compared: tuple[Path, ReadExport] | None = None,
    web: Path = WEB,
) -> Path:
    """Write the page, its libraries and the model into one folder; return that folder.

    Invariants: every file that the page asks for is in the folder and in ``site.json``.

    Args:
        folder: an export.
        record: its ``export.json``, as `harness.export.record.read_export` returns it.
        target: where to write; made where missing.
        precision: of the file; None takes the export's default.
        compared: the export of a model to show next to it, as the teacher's, and its record.
        web: the folder ``harness/web``, with ``node_modules``.

    Raises:
        UsageError: the export has no such precision.
        HarnessError: a task without labels or of two texts, models of two tasks, a link out of an export, or
            libraries that are not installed.
    """
    if record.task not in TITLES:
        raise HarnessError(
            f"demo: expected a model that labels one text; got the task '{record.task}'; "
            f"export one of {', '.join(TITLES)}"
        )
    if compared is not None and compared[1].task != record.task:
        raise HarnessError(
            f"demo: expected two models of one task; got {record.task} and {compared[1].task}; name another"
        )
    shown = _choose_file(record, precision)
    sources = _list_model_files("model", folder, shown)
    site: dict[str, object] = {
        "title": _make_title(record.task, record.language),
        "language": record.language,
        "example": EXAMPLES.get(record.language or ""),
        "task": record.task,
        **shown,
    }
    if compared is not None:
        other, read = compared
        site["compared"] = second = _choose_file(read, None)
        sources |= _list_model_files("compared", other, second)
    sources |= {name: web / "page" / name for name in PAGE}
    sources |= {f"libraries/{Path(name).name}": web / "node_modules" / name for name in LIBRARIES}
    _check_files(sources)
    for name, source in sources.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target / name)
    site["files"] = ["./", "site.json", *sources]
    write_json(target / "site.json", site)
    return target


def _choose_file(record: ReadExport, precision: str | None) -> dict[str, str | int]:
    """Return the ONNX file of a precision, or of the export's default, its precision and its size.

    Raises:
        UsageError: the export has no such precision.
    """
    rows = {row.precision: row for row in record.files}
    chosen = precision or record.default
    if chosen not in rows:
        raise unknown("precision of this export", chosen, rows)
    row = rows[chosen]
    file = row.file.removesuffix(".ort") + (".onnx" if row.file.endswith(".ort") else "")
    return {"file": file, "precision": chosen, "size_bytes": row.size_bytes}


def _list_model_files(prefix: str, folder: Path, shown: Mapping[str, str | int]) -> dict[str, Path]:
    """Return the files of a model that the page reads: name on the site → file of the export."""
    files = {f"{prefix}/{name}": folder / name for name in (*_MODEL, str(shown["file"]))}
    _check_links(files.values(), folder)
    return files


def _make_title(task: str, language: str | None) -> str:
    """Return the title: the task, and the language where it is known."""
    known = LANGUAGES.get(language or "")
    name = known.name if known else language
    return f"{TITLES[task]}, {name}" if name else TITLES[task]


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
    prefix, _, name = missing[0].partition("/")
    if prefix in {"model", "compared"}:
        raise HarnessError(f"demo: expected {name} in the export; got none; export again")
    raise HarnessError(
        f"demo: expected the page's {missing[0]}; got none; run `make web` in a checkout (needs npm)"
    )
