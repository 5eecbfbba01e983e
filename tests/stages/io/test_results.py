"""The results that the report collects from stages that were resumed, or timed in batches."""

from __future__ import annotations

import pytest

from harness.stages.io.results import collect_results
from harness.stages.table import KINDS
from harness.units import format_count


@pytest.fixture
def report(finished):
    """The config of a finished run's report, and the manifests that it read."""
    stage = next(stage for stage in finished.planned.plan if stage.id == "report")
    return dict(stage.config), {role: finished.manifest(role) for role in stage.inputs}


def test_resumed_training_has_no_time_and_no_memory_and_says_why(report):
    config, manifests = report
    training = manifests["adapt"].facts["training"] | {"resumed": True, "tokens_per_s": None}
    changes = {"resumed": True, "facts": manifests["adapt"].facts | {"training": training}}
    results = collect_results(config, manifests | {"adapt": manifests["adapt"].model_copy(update=changes)})
    assert results.find_problems() == []
    rows = {one.step: one for one in results.training}
    assert rows["adapt"].wall_s is rows["adapt"].peak_memory_bytes is None
    assert rows["distill"].wall_s == manifests["distill"].wall_s
    reasons = {one.cell: one.reason for one in results.absent if one.cell.startswith("training/")}
    for field in ("tokens_per_s", "wall_s", "peak_memory_bytes"):
        assert "interrupted and resumed" in reasons[f"training/adapt/{field}"]
        assert f"training/distill/{field}" not in reasons


def test_export_records_the_batch_size_of_its_timing(report):
    config, manifests = report
    rows = [row | {"batch_size": 4} for row in manifests["latency"].facts["latency"]]
    latency = manifests["latency"].model_copy(update={"facts": {"latency": rows}})
    results = collect_results(config, manifests | {"latency": latency})
    assert {one.batch_size for one in results.exports} == {4}


def test_fitted_head_and_dropped_rows_are_notes_on_the_teacher(report):
    config, manifests = report
    assert collect_results(config, manifests).teacher_notes == ()
    facts = manifests["teacher"].facts | {"new_head": True, "dropped_rows": 1035}
    teacher = manifests["teacher"].model_copy(update={"facts": facts})
    head = manifests["adapt"].model_copy(update={"kind": "head", "version": KINDS["head"].version})
    notes = collect_results(config, manifests | {"teacher": teacher, "adapt": head}).teacher_notes
    tokens = format_count(manifests["adapt"].facts["training"]["tokens"])
    assert {(one.note, one.key) for one in notes} == {
        (
            "1,035 rows of the teacher's embeddings belong to no token and were left out",
            manifests["teacher"].key,
        ),
        (
            f"the teacher has no masked-language head; one was fitted on {tokens} tokens with the encoder "
            "frozen",
            manifests["adapt"].key,
        ),
    }


def test_notes_and_repeats_of_tasks_and_unread_parts_are_listed(report):
    config, manifests = report
    tasks, corpus = manifests["tasks"], manifests["corpus"]
    assert {(one.task, one.part) for one in collect_results(config, manifests).repeats} == {
        (task, part) for task in config["tasks"] for part in ("train", "dev", "test")
    }
    noted = {name: one | {"notes": ["a note"]} for name, one in tasks.facts.items()}
    read = {"unread_tasks": {"nli/mt/dev": "a reason"}, "task_texts": {"topic": 1200}}
    corpora = {name: one | read for name, one in corpus.facts.items()}
    changed = {
        "tasks": tasks.model_copy(update={"facts": noted}),
        "corpus": corpus.model_copy(update={"facts": corpora}),
    }
    results = collect_results(config, manifests | changed)
    assert results.find_problems() == []
    assert [(one.task, one.note) for one in results.reading] == [
        *((task, "a note") for task in config["tasks"]),
        ("topic", "1,200 texts of the training part are in the corpus, without labels"),
        ("nli", "the texts of nli/mt/dev are not kept out of the corpus: a reason"),
    ]


def test_facts_of_tasks_without_repeats_have_no_rows(report):
    config, manifests = report
    old = {
        name: {key: value for key, value in one.items() if key != "repeats"}
        for name, one in manifests["tasks"].facts.items()
    }
    changed = {"tasks": manifests["tasks"].model_copy(update={"facts": old})}
    assert collect_results(config, manifests | changed).repeats == ()


def test_models_that_are_not_scored_are_described_without_scores(report):
    """As with ``--score final``: the models between the teacher and the student have no scores at all."""
    config, manifests = report
    unscored = ("adapt", "distill", "prune", "narrow")
    left_out = {f"score.{task}.{name}" for task in config["tasks"] for name in unscored}
    read = {role: one for role, one in manifests.items() if role not in left_out}
    results = collect_results(config | {"unscored": unscored}, read)
    assert {one.id for one in results.models} >= {*unscored}
    assert {score.model for score in results.scores}.isdisjoint(unscored)
    assert {note.model for note in results.finetuning}.isdisjoint(unscored)
