"""Lay out a data folder and a model folder as the hub's repositories: the inverse of the readers."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from harness.config.shape import KNOWN_TEACHERS
from harness.data import folder
from harness.data.examples import SPLITS, Absent, TaskData, TextExample, TokenExample
from harness.languages import LANGUAGES, Source
from harness.tasks import CONLLU

SHARD_DOCUMENTS = 20_000


def fill_teacher(model: Path, root: Path, name: str = "e5-small") -> dict[str, str]:
    """Copy a model folder to where the table of teachers says that the hub has it; return its commit."""
    teacher = KNOWN_TEACHERS[name]
    place = root / "models" / teacher.hub_id
    place.mkdir(parents=True, exist_ok=True)
    for path in model.iterdir():
        if not (place / path.name).exists():
            shutil.copyfile(path, place / path.name)
    return {f"models/{teacher.hub_id}": teacher.revision}


def fill_datasets(data: Path, root: Path, languages: Iterable[str] | None = None) -> dict[str, str]:
    """Write a data folder's corpora and tasks as the hub's data sets; return their commits."""
    commits: dict[str, str] = {}
    for code in languages or folder.list_languages(data):
        row = LANGUAGES[code]
        _fill_corpus(data, code, row.corpus, root)
        _note_commit(row.corpus, commits)
        for task, source in row.tasks.items():
            labelled = folder.read_task(data, task, code)
            if not isinstance(labelled, Absent) and _has_labels_of(source, labelled):
                _fill_task(labelled, source, root)
                _note_commit(source, commits)
    return commits


def _has_labels_of(source: Source, data: TaskData) -> bool:
    """Whether a data set can hold a task: a data set that numbers its labels has no others."""
    parts = (getattr(data, split) for split in SPLITS)
    used = {label for part in parts for example in part for label in example.labels}
    return not source.labels or used <= set(source.labels)


def _note_commit(source: Source, commits: dict[str, str]) -> None:
    if source.revision is not None:
        commits[f"datasets/{source.hub}"] = source.revision


def _place(source: Source, root: Path, split: str, ending: str = "0.parquet") -> Path:
    """Return the path of a part: the row's pattern with its stars filled in."""
    name = source.pattern(split).replace("*.parquet", ending)
    name = name.replace(f"*{source.config}/", f"{source.config}/").replace("*", "")
    path = root / "datasets" / source.hub / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _fill_corpus(data: Path, code: str, source: Source, root: Path) -> None:
    documents = ["\n".join(document) for document in folder.read_corpus(data, code)]
    for number, start in enumerate(range(0, len(documents), SHARD_DOCUMENTS)):
        table = pa.table({source.columns[0]: documents[start : start + SHARD_DOCUMENTS]})
        pq.write_table(table, _place(source, root, "train", f"{source.config}_{number:03d}.parquet"))


def _fill_task(data: TaskData, source: Source, root: Path) -> None:
    for split in SPLITS:
        examples = getattr(data, split)
        path = _place(source, root, split)
        names = list(source.columns)
        if data.task.format == CONLLU:
            names.append("text")
        columns = list(zip(*(_row(example, source)[: len(names)] for example in examples), strict=True))
        if path.suffix == ".parquet":
            pq.write_table(pa.table(dict(zip(names, columns, strict=True))), path)
        else:
            _write_text(path, names, columns)


def _row(example: TokenExample | TextExample, source: Source) -> tuple[object, ...]:
    """Return an example as the data set's columns; labels are numbers where the table names them."""
    if isinstance(example, TokenExample):
        return list(example.words), [_code(label, source) for label in example.labels], example.written
    texts = [example.text] if example.second is None else [example.text, example.second]
    return *texts, _code(example.label, source)


def _code(label: str, source: Source) -> object:
    return source.labels.index(label) if source.labels and label in source.labels else label


def _write_text(path: Path, names: list[str], columns: list[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".tsv":
            file.write("\t".join(names) + "\n")
            file.writelines("\t".join(map(str, row)) + "\n" for row in zip(*columns, strict=True))
        else:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows(zip(*columns, strict=True))
