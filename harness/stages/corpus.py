"""Read and clean the text of one or more languages, hold documents out, and mix in a source language."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING

from harness.data import corpus
from harness.data.examples import SPLITS, Absent
from harness.data.folder import read_part_texts
from harness.data.sources import open_corpus, open_task
from harness.errors import HarnessError
from harness.stages.io.artifacts import locate_corpus, read_task
from harness.stages.io.data import find_source
from harness.stages.io.facts import CorporaFacts, CorpusFacts
from harness.tasks import TASKS

if TYPE_CHECKING:
    from harness.pipeline.execute import Context


def run(context: Context) -> CorporaFacts:
    """Write ``train.txt`` and ``held_out.txt``; for several languages, in a folder each.

    With a source language (then there is a single language), ``train.txt`` contains about as many lines of
    the source language as of the language itself, alternating by document; ``held_out.txt`` is the language's
    own. With the stage `tasks` as an input, the texts of the tasks' training parts are read after the text of
    the language.

    Invariants: no written file contains a line of the dev or test part of any task, in any of the languages
    that are read (a sentence often occurs in two languages). Lines that the language itself holds out are not
    mixed in from the source language.
    """
    languages = context.config["languages"]
    scored, unread = _read_scored_texts(context)
    labelled = _read_training_texts(context) if "tasks" in context.inputs else {}
    facts = {}
    for done, language in enumerate(languages):
        context.progress(done, len(languages), "languages", {})
        folder = locate_corpus(context.out, language, languages)
        folder.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=context.out) as name:
            spare = Path(name)
            prepared, facts[language] = _prepare(context, language, scored, spare / "own", labelled)
            corpus.write_part(folder, "held_out", prepared.stream("held_out"))
            train = prepared.stream("train")
            source_language = context.config.get("source_language")
            if source_language is not None:
                excluded = scored | set(chain.from_iterable(prepared.stream("held_out")))
                source, facts[source_language] = _prepare(
                    context, source_language, excluded, spare / "source"
                )
                train = _mix(prepared, source, context.config["seed"])
            corpus.write_part(folder, "train", train)
    if unread:
        first = languages[0]
        facts[first] = facts[first].model_copy(update={"unread_tasks": unread})
    return CorporaFacts(facts)


def _read_training_texts(context: Context) -> dict[str, list[str]]:
    """Return the texts of each task's training part, without their labels."""
    there = [name for name in TASKS if (context.inputs["tasks"] / f"{name}.json").is_file()]
    return {
        name: [text for example in read_task(context, name).train for text in example.texts] for name in there
    }


def _read_scored_texts(context: Context) -> tuple[set[str], dict[str, str]]:
    """Return the texts of the dev and test parts of all tasks in all languages, and the tasks left out.

    A part of a data folder that cannot be read is left out with its reason: where its task is scored, the
    stage `tasks` refuses it. A fault of the hub may be gone at the next try, and is an error.
    """
    config = context.config
    scored: set[str] = set()
    unread: dict[str, str] = {}
    sizes = dict(zip(SPLITS, config["sizes"], strict=True))
    for language, tasks in config["excluded_tasks"].items():
        for task in tasks:
            source = find_source(context, task, config["tasks_source"])
            if isinstance(source, Path):
                for part in ("dev", "test"):
                    try:
                        scored |= read_part_texts(
                            source, task, language, part, size=sizes[part], seed=config["seed"]
                        )
                    except HarnessError as fault:
                        unread[f"{task}/{language}/{part}"] = str(fault)
                continue
            data = open_task(source, task, language, tuple(config["sizes"]), config["seed"])
            if not isinstance(data, Absent):
                scored |= data.scored_texts()
    return scored, unread


def _mix(own: corpus.PreparedCorpus, source: corpus.PreparedCorpus, seed: int) -> Iterator[corpus.Document]:
    drawn = corpus.sample_stream(lambda: source.stream("train"), own.statistics.train_lines, seed)
    turns = chain.from_iterable(zip_longest(own.stream("train"), drawn))
    return (document for document in turns if document is not None)


def _prepare(
    context: Context,
    language: str,
    exclude: Collection[str],
    folder: Path,
    labelled: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> tuple[corpus.PreparedCorpus, CorpusFacts]:
    config = context.config
    text = open_corpus(find_source(context, "corpus"), language, config["lines"], config["seed"])
    further = chain.from_iterable(corpus.group(texts, blank_lines=False) for texts in labelled.values())
    folder.mkdir()
    prepared = corpus.prepare_on_disk(
        chain(text.documents, further), config["held_out_fraction"], config["seed"], exclude, folder
    )
    statistics = prepared.statistics
    if not statistics.held_out_documents:
        raise HarnessError(
            f"corpus: expected at least two documents in '{language}', of which one is held out; got "
            f"{statistics.train_documents}; add text, or separate documents by blank lines"
        )
    described = {"provenance": dict(text.provenance), "task_texts": {k: len(v) for k, v in labelled.items()}}
    return prepared, CorpusFacts.model_validate(statistics.as_dict() | described)
