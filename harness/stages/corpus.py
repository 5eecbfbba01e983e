"""Reads the text of one or more languages, cleans it, and holds some documents out; may mix in another."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from harness.data import corpus
from harness.data.examples import Absent
from harness.data.sources import open_corpus, open_task
from harness.errors import HarnessError
from harness.stages.io.artifacts import corpus_folder
from harness.stages.io.data import source_of

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> None:
    """Writes ``train.txt`` and ``held_out.txt``; of several languages, in a folder each.

    With a source language, of which there is no other, ``train.txt`` has about as many lines of it as of the
    language itself, document by document in turns, and ``held_out.txt`` is the language's own.

    Holds: no line of the dev or test part of any task, in any of the languages read, stands in either part of
    any of them: a sentence is often at home in two languages. What the language itself holds out is not mixed
    in from the other.
    """
    languages = context.config["languages"]
    scored = _scored_texts(context)
    for done, language in enumerate(languages):
        context.progress(done, len(languages), "languages", {})
        folder = corpus_folder(context.out, language, languages)
        folder.mkdir(exist_ok=True)
        split = _prepare(context, language, scored)
        if "source_language" in context.config:
            held_out = set(chain.from_iterable(split.held_out))
            beside = _prepare(context, context.config["source_language"], scored | held_out)
            split = _mix(split, beside, context.config["seed"])
        corpus.write(split, folder)


def _scored_texts(context: Context) -> set[str]:
    """Gives the texts of the dev and test parts of the tasks, of all languages together."""
    config = context.config
    scored: set[str] = set()
    for language, tasks in config["excluded_tasks"].items():
        for task in tasks:
            source = source_of(context, task, config["tasks_source"])
            data = open_task(source, task, language, tuple(config["sizes"]), config["seed"])
            if not isinstance(data, Absent):
                scored |= data.scored_texts()
    return scored


def _mix(split: corpus.Split, beside: corpus.Split, seed: int) -> corpus.Split:
    num_lines = sum(map(len, split.train))
    turns = chain.from_iterable(zip_longest(split.train, corpus.sample(beside.train, num_lines, seed)))
    return replace(split, train=[document for document in turns if document is not None])


def _prepare(context: Context, language: str, exclude: Collection[str]) -> corpus.Split:
    config = context.config
    text = open_corpus(source_of(context, "corpus"), language, config["lines"], config["seed"])
    split = corpus.prepare(text.documents, config["held_out_fraction"], config["seed"], exclude=exclude)
    if not split.held_out:
        raise HarnessError(
            f"corpus: wanted two documents or more in '{language}', one of them to be held out; got "
            f"{len(split.train)}; add text, or part it by blank lines"
        )
    context.facts[language] = {**split.statistics.as_dict(), "provenance": dict(text.provenance)}
    return split
