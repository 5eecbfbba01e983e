"""Results for other programs: the published schemas, and files that the official scorers score alike."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import fastjsonschema
import pytest
from seqeval.metrics import f1_score
from udtools.udeval import evaluate, load_conllu

from harness.deploy.interchange.conll import format_conll, format_conllu
from harness.deploy.interchange.every_eval_ever import Evaluation, make_records
from harness.deploy.interchange.mteb import describe_for_mteb
from harness.errors import UsageError
from harness.measure.predictions import Predictions
from harness.measure.scores import score

SCHEMAS = Path(__file__).parent / "schemas"
"""The schemas of the package every-eval-ever 0.3.0, as published."""


@pytest.fixture(scope="module")
def validate():
    """Return a function that checks a record against the published schema of its kind."""
    names = ("eval", "instance_level_eval")
    checks = {
        name: fastjsonschema.compile(json.loads((SCHEMAS / f"{name}.schema.json").read_text()))
        for name in names
    }
    return lambda name, value: checks[name](value)


def make_evaluation(results, name, **changed):
    given = {"developer": "some-lab", "version": "1", "retrieved": 5, "sources": {"topic": "a/b"}}
    model = next(one for one in results.models if one.id == name)
    return Evaluation(results, model, **(given | changed))


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


def test_records_follow_the_published_schemas(results, validate):
    gold = ["sports", "travel", "sports"]
    topics = Predictions("topic", ("macro_f1", "accuracy"), gold, {1: gold, 2: ["sports"] * 3}, "s")
    names = Predictions("ner", ("span_f1",), [["B-LOC", "O"]], {1: [["O", "O"]]}, "s")
    items = [(["a", "b", "c"], topics), (["Malta hija"], names)]
    for model in results.models:
        files = make_records(make_evaluation(results, model.id), items)
        samples, scores = files
        record = json.loads(files[scores])
        validate("eval", record)
        assert record["detailed_evaluation_results"]["file_path"] == samples
        assert scores == samples.replace("_samples.jsonl", ".json")
        rows = [json.loads(line) for line in files[samples].splitlines()]
        assert len(rows) == record["detailed_evaluation_results"]["total_rows"] == 2 * 3 + 1
        listed = {one["evaluation_result_id"] for one in record["evaluation_results"]}
        for row in rows:
            validate("instance_level_eval", row)
            ids = (record["evaluation_id"], record["model_info"]["id"])
            assert (row["evaluation_id"], row["model_id"]) == ids
            assert row["evaluation_result_id"] in listed
        assert [row["evaluation"]["score"] for row in rows] == [1, 1, 1, 1, 0, 1, 0.5]
        assert [row["evaluation"]["is_correct"] for row in rows][-2:] == [True, False]


def test_records_have_every_score(results):
    for model in results.models:
        (text,) = make_records(make_evaluation(results, model.id), []).values()
        record = json.loads(text)
        assert "detailed_evaluation_results" not in record
        listed = {
            one["evaluation_name"]: one["score_details"]["score"] for one in record["evaluation_results"]
        }
        ours = {f"{one.task}.{one.metric}": one.mean for one in results.scores if one.model == model.id}
        losses = {"held_out.loss_per_byte": 0.625} if model.id in {"teacher", "trim"} else {}
        assert listed == ours | losses


def test_equal_scores_have_equal_file_names(results):
    once, later = (make_evaluation(results, "trim", retrieved=time) for time in (5, 6))
    assert make_records(once, []).keys() == make_records(later, []).keys()
    assert once.stem != make_evaluation(results, "teacher").stem


def test_names_of_studies_become_portable_folders(results):
    run = results.run.model_copy(update={"recipe": "one/two: three"})
    evaluation = make_evaluation(results.model_copy(update={"run": run}), "trim")
    assert evaluation.stem.split("/")[:-1] == [
        "data", "harness-encoders-mt", "some-lab", "one-two--three-mini-mt-trim"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b"])
def test_bad_developer_is_refused(name, results):
    with pytest.raises(UsageError, match=r"expected letters, digits and \. _ - for --developer; got"):
        make_evaluation(results, "trim", developer=name)


def test_mteb_gets_its_own_tasks_alone(results):
    model = next(one for one in results.models if results.find_score(one.id, "topic"))
    accuracy = results.find_score(model.id, "topic").model_copy(update={"metric": "accuracy"})
    scored = results.model_copy(update={"scores": (*results.scores, accuracy)})
    provenance = {"hub": "Davlan/sib200", "revision": "abc"}
    theirs = describe_for_mteb(scored, model, "topic", provenance)
    assert (theirs["task_name"], theirs["dataset_revision"]) == ("SIB200Classification", "abc")
    (row,) = theirs["scores"]["test"]
    assert row["main_score"] == row["accuracy"] == accuracy.mean
    assert (row["hf_subset"], row["languages"], row["num_samples"]) == ("mlt_Latn", ["mlt-Latn"], 200)
    for other in ({}, provenance | {"hub": "another/set"}):
        assert describe_for_mteb(scored, model, "topic", other) is None


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


@pytest.mark.parametrize("seed", range(3))
def test_conllu_scores_as_here_by_the_official_scorer(seed):
    words, gold, predicted = make_sentences(["NOUN", "VERB", "PUNCT"], 30 + seed)
    files = [load_conllu(io.StringIO(format_conllu(words, tags)), "file", {}) for tags in (gold, predicted)]
    assert evaluate(*files)["UPOS"].f1 == pytest.approx(score("accuracy", gold, predicted))
