"""Reads the text of one or more languages, cleans it, and holds some documents out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.data import corpus
from harness.data.sources import open_corpus, open_task
from harness.data.tasks import Absent
from harness.errors import HarnessError
from harness.stages.files import corpus_folder
from harness.stages.sources import source_of

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes ``train.txt`` and ``held_out.txt``; of several languages, in a folder each.

    Holds: no line of the dev or test part of any task of the source stands in either part.
    """
    languages = context.config["languages"]
    for done, language in enumerate(languages):
        context.progress(done, len(languages), "languages", {})
        folder = corpus_folder(context.out, language, languages)
        folder.mkdir(exist_ok=True)
        context.facts[language] = _prepare(context, language, folder)


def _prepare(context: Context, language: str, folder: Path) -> dict[str, object]:
    config = context.config
    text = open_corpus(source_of(context, "corpus"), language, config["lines"], config["seed"])
    scored: set[str] = set()
    for task in config["excluded_tasks"][language]:
        source = source_of(context, task, config["tasks_source"])
        data = open_task(source, task, language, tuple(config["sizes"]), config["seed"])
        if not isinstance(data, Absent):
            scored |= data.scored_texts()
    split = corpus.prepare(text.documents, config["held_out_fraction"], config["seed"], exclude=scored)
    if not split.held_out:
        raise HarnessError(
            f"corpus: wanted two documents or more in '{language}', one of them to be held out; got "
            f"{len(split.train)}; add text, or part it by blank lines"
        )
    corpus.write(split, folder)
    return {**split.statistics.as_dict(), "provenance": dict(text.provenance)}
