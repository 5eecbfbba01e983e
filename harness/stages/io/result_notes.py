"""Collect what a report says in words: of the data as it was read, the teacher, and the fine-tunings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel

from harness.pipeline.manifest import Manifest
from harness.report.finetuning import FinetuningNote
from harness.report.texts import Leakage, ReadingNote, Repeats, TaskPart
from harness.report.values import TeacherNote
from harness.stages.io.facts import (
    CorporaFacts,
    FetchFacts,
    FinetunedScoresFacts,
    ScoringFacts,
    TasksFacts,
    TrainedStepFacts,
)
from harness.stages.io.finetuning_notes import describe_finetunings, describe_imbalance
from harness.stages.table import read_facts
from harness.units import format_count


def collect_finetuning_notes(
    tasks: Sequence[str], models: Sequence[str], read: Mapping[str, Manifest]
) -> Iterator[FinetuningNote]:
    """Return what is worth knowing of a task's labels and of each model's fine-tunings."""
    for task in tasks:
        imbalance: FinetuningNote | None = None
        for model in models:
            manifest = read[f"score.{task}.{model}"]
            scores = read_facts(manifest, ScoringFacts).scores
            if not isinstance(scores, FinetunedScoresFacts):
                continue
            text = describe_imbalance(scores.majority)
            if text is not None and imbalance is None:
                imbalance = FinetuningNote(model=None, task=task, note=text, key=manifest.key)
                yield imbalance
            for note in describe_finetunings(scores):
                yield FinetuningNote(model=model, task=task, note=note, key=manifest.key)


def collect_leakage(tasks: Sequence[str], manifest: Manifest) -> Iterator[Leakage]:
    """Return for each task how many dev and test items an earlier part has, too."""
    for task in tasks:
        facts = read_facts(manifest, TasksFacts).root[task]
        yield Leakage(
            task=task,
            dev=facts.leakage.dev,
            n_dev=facts.dev,
            test=facts.leakage.test,
            n_test=facts.test,
            key=manifest.key,
        )


def collect_repeats(tasks: Sequence[str], manifest: Manifest) -> Iterator[Repeats]:
    """Return a row for each part of each task, where the manifest has the counts."""
    for task in tasks:
        facts = read_facts(manifest, TasksFacts).root[task]
        sizes: dict[TaskPart, int] = {"train": facts.train, "dev": facts.dev, "test": facts.test}
        for part, items in sizes.items():
            if part in facts.repeats:
                counts = facts.repeats[part].model_dump()
                yield Repeats(task=task, part=part, items=items, **counts, key=manifest.key)


def collect_teacher_notes(read: Mapping[str, Manifest]) -> Iterator[TeacherNote]:
    """Return what was added to a teacher and left out of it before it was used."""
    for manifest in read.values():
        facts = read_facts(manifest, BaseModel)
        if manifest.kind == "head" and isinstance(facts, TrainedStepFacts):
            note = (
                "the teacher has no masked-language head; one was fitted on "
                f"{format_count(facts.training.tokens)} tokens with the encoder frozen"
            )
            yield TeacherNote(note=note, key=manifest.key)
        if isinstance(facts, FetchFacts) and facts.dropped_rows:
            note = (
                f"{format_count(facts.dropped_rows)} rows of the teacher's embeddings belong to no token "
                "and were left out"
            )
            yield TeacherNote(note=note, key=manifest.key)
        if isinstance(facts, FetchFacts):
            yield from (TeacherNote(note=note, key=manifest.key) for note in facts.tokenizer_notes)


def collect_reading_notes(tasks: Sequence[str], read: Mapping[str, Manifest]) -> Iterator[ReadingNote]:
    """Return the notes on the scored tasks, then which texts of tasks are in the corpus, or could be."""
    for task in tasks:
        for note in read_facts(read["tasks"], TasksFacts).root[task].notes:
            yield ReadingNote(task=task, note=note, key=read["tasks"].key)
    for manifest in read.values():
        facts = read_facts(manifest, BaseModel)
        for language in facts.root.values() if isinstance(facts, CorporaFacts) else ():
            for task, number in language.task_texts.items():
                note = f"{format_count(number)} texts of the training part are in the corpus, without labels"
                yield ReadingNote(task=task, note=note, key=manifest.key)
            for part, reason in language.unread_tasks.items():
                note = f"the texts of {part} are not kept out of the corpus: {reason}"
                yield ReadingNote(task=part.partition("/")[0], note=note, key=manifest.key)
