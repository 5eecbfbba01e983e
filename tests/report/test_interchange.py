"""Results for other programs: the fields that schemas require, and files that other scorers score alike."""

from __future__ import annotations

import random

import pytest
from seqeval.metrics import f1_score

from harness.measure.scores import score
from harness.report.interchange import describe_evaluation, describe_for_mteb, format_conll, format_conllu

REQUIRED = {
    "": {
        "schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "model_info",
        "eval_library", "evaluation_results",
    },
    "source_metadata": {"source_type", "source_organization_name", "evaluator_relationship"},
    "model_info": {"name", "id"},
    "eval_library": {"name", "version"},
}  # fmt: skip
"""What the schema of Every Eval Ever requires of a record, and of its parts."""


def make_sentences(tags, number=40):
    """Return words, gold tags and predicted tags of random sentences."""
    drawn = random.Random(5)
    lengths = [drawn.randint(1, 9) for _ in range(number)]
    words = [[f"w{place}" for place in range(length)] for length in lengths]
    gold, predicted = (
        [correct([drawn.choice(tags) for _ in range(length)]) for length in lengths] for _ in range(2)
    )
    return words, gold, predicted


def correct(tags):
    """Return tags in which no span begins with I-."""
    before = ["O", *tags]
    return [
        f"B{tag[1:]}" if tag.startswith("I-") and last[2:] != tag[2:] else tag
        for last, tag in zip(before, tags, strict=False)
    ]


def read_conll(text):
    """Return the columns of a file for conlleval, a list for each sentence."""
    blocks = [block.splitlines() for block in text.split("\n\n")]
    return [[[line.split(" ")[column] for line in block] for block in blocks] for column in (1, 2)]


def test_records_have_what_the_schema_requires(results):
    for model in results.models:
        record = describe_evaluation(results, model, version="1", retrieved=5, sources={"topic": "a/b"})
        assert record.keys() == REQUIRED[""]
        for part in ("source_metadata", "model_info", "eval_library"):
            assert record[part].keys() >= REQUIRED[part]
        ours = [one for one in results.scores if one.model == model.id]
        assert [one["score_details"]["score"] for one in record["evaluation_results"]] == [
            one.mean for one in ours
        ]
        for one in record["evaluation_results"]:
            assert one.keys() == {"evaluation_name", "source_data", "metric_config", "score_details"}
            assert one["metric_config"]["min_score"] <= one["score_details"]["score"]
            assert {"dataset_name", "source_type"} <= one["source_data"].keys()
            assert all(isinstance(value, str) for value in one["score_details"]["details"].values())


def test_mteb_gets_its_own_tasks_alone(results):
    model = next(one for one in results.models if results.find_score(one.id, "topic"))
    theirs = describe_for_mteb(results, model, "topic", sources={"topic": "Davlan/sib200"}, revision="abc")
    assert theirs["task_name"] == "SIB200Classification"
    assert theirs["scores"]["test"][0]["main_score"] == results.find_score(model.id, "topic").mean
    for sources in ({}, {"topic": "another/set"}):
        assert describe_for_mteb(results, model, "topic", sources=sources, revision=None) is None


def test_conll_scores_as_here():
    words, gold, predicted = make_sentences(["O", "B-PER", "I-PER", "B-LOC"])
    columns = read_conll(format_conll(words, gold, predicted))
    assert columns == [gold, predicted]
    ours = score("span_f1", gold, predicted)
    assert f1_score(*columns) == pytest.approx(ours)


def test_conllu_has_ten_columns_and_the_tags():
    words, gold, _ = make_sentences(["NOUN", "VERB", "PUNCT"], 5)
    text = format_conllu(words, gold)
    blocks = text.strip().split("\n\n")
    for block, sentence, tags in zip(blocks, words, gold, strict=True):
        rows = [line.split("\t") for line in block.splitlines()]
        assert all(len(row) == 10 for row in rows)
        assert [row[1] for row in rows] == sentence
        assert [row[3] for row in rows] == tags
        assert [row[6] for row in rows] == [str(number) for number in range(len(rows))]
    assert text.endswith("\n\n")
