"""The answer: one recommendation, computed from the comparisons."""

from __future__ import annotations

import pytest

from harness.report.answer import Rival, decide_recommendation, write_answer, write_recommendation
from harness.report.results import ComparisonRow, Results
from harness.report.values import Estimate

WORSE, LEVEL, BETTER = "worse", "not told apart", "better"
TEACHER = Rival("teacher", LEVEL, larger=True)
STRONG_TEACHER = Rival("teacher", WORSE, ("pos",), larger=True)
BEATEN = Rival("most frequent label", BETTER)
TFIDF = Rival("TF-IDF and a linear model", WORSE, ("topic",))

CASES = {
    "better than all baselines, teacher kept": (
        TEACHER, [BEATEN], "take the student",
        "Take this student: it is better than every baseline, and no larger model is significantly better.",
    ),
    "better than the teacher": (
        Rival("teacher", BETTER, larger=True), [BEATEN], "take the student", "Take this student",
    ),
    "teacher is better": (
        STRONG_TEACHER, [BEATEN], "a larger model is better",
        "where its size or speed matters: it is better than every baseline of its size or smaller, but "
        "“teacher” is better.",
    ),
    "teacher is better on one task": (
        Rival("teacher", LEVEL, ("pos",), larger=True), [BEATEN], "a larger model is better",
        "“teacher” is better on a task.",
    ),
    "larger baseline is better": (
        TEACHER, [Rival("teacher, trimmed only", WORSE, larger=True), BEATEN], "a larger model is better",
        "“teacher, trimmed only” is better.",
    ),
    "worse than a baseline": (
        TEACHER, [TFIDF, BEATEN], "a baseline is better",
        "Do not take this student: “TF-IDF and a linear model” is better. To get past it, try more text, a "
        "larger student, a stronger teacher, or more labels.",
    ),
    "worse than two baselines": (
        STRONG_TEACHER, [TFIDF, Rival("static", WORSE)], "a baseline is better",
        "“TF-IDF and a linear model” and “static” are better",
    ),
    "worse than a baseline on a task": (
        TEACHER, [Rival("TF-IDF", LEVEL, ("topic",)), BEATEN], "a baseline is better on a task",
        "Do not take this student for Topic, where “TF-IDF” is better",
    ),
    "no significant difference from a baseline": (
        TEACHER, [Rival("TF-IDF", LEVEL), BEATEN], "level with a baseline",
        "no significant difference from “TF-IDF”",
    ),
    "no tasks at all": (None, [], "nothing compared", "it was scored on no task"),
    "no baselines": (TEACHER, [], "no baseline", "compared with no baseline"),
    "larger baselines only": (
        TEACHER, [Rival("random", BETTER, larger=True)], "no baseline",
        "compared with no baseline of its size or smaller",
    ),
    "baselines without a teacher": (None, [BEATEN], "take the student", "better than every baseline."),
}  # fmt: skip


@pytest.mark.parametrize(("teacher", "baselines", "expected", "words"), CASES.values(), ids=CASES)
def test_recommendation_follows_from_the_comparisons(teacher, baselines, expected, words):
    assert decide_recommendation(teacher, baselines) == expected
    assert words in write_recommendation(teacher, baselines)


def compare(other: str, task: str, value: float, verdict: str) -> ComparisonRow:
    difference = Estimate(value=value, low=value - 0.02, high=value + 0.02)
    return ComparisonRow(
        model="trim", other=other, task=task, difference=difference, retention=None, p_value=None,
        p_holm=None, p_wilcoxon=None, verdict=verdict, key="ab" * 6,
    )  # fmt: skip


def keep_tasks(results: Results, *tasks: str) -> Results:
    declared = results.declared.model_copy(
        update={"tasks": {name: results.declared.tasks[name] for name in tasks}}
    )
    return results.model_copy(update={"declared": declared})


def test_answer_states_size_speed_scores_and_strongest_baseline(results: Results):
    rows = [
        compare("teacher", "average", -0.01, LEVEL),
        compare("random", "average", 0.21, BETTER),
        compare("majority", "average", 0.62, BETTER),
    ]
    assert write_answer(results.model_copy(update={"comparisons": tuple(rows)})) == (
        "The student for Maltese has 700,000 parameters, 89.9 % fewer than the teacher.",
        "Its fp32 ONNX file takes 2.00 ms for a row with 128 tokens, 6.00 (5.82–6.18) times as fast as the "
        "teacher's.",
        "It keeps 93.0 % of the teacher's average score (no significant difference).",
        "The strongest baseline, “Student's shape from random weights”, reaches 58.5 %, the student 79.5 %, "
        "a difference of +21.0 (+19.0 to +23.0) points.",
        "Take this student: it is better than every baseline, and no larger model is significantly better.",
    )


def test_answer_uses_the_only_task_where_there_is_one(results: Results):
    rows = (compare("teacher", "pos", -0.1, WORSE), compare("majority", "pos", 0.6, BETTER))
    answer = write_answer(keep_tasks(results, "pos").model_copy(update={"comparisons": rows}))
    assert "(worse)" in answer[2]
    assert answer[-1].endswith("but “Teacher” is better.")


def test_answer_names_a_task_on_which_a_baseline_is_better(results: Results):
    rows = (
        compare("majority", "average", 0.6, BETTER),
        compare("majority", "ner", -0.1, WORSE),
        compare("teacher", "average", 0, LEVEL),
    )
    answer = write_answer(results.model_copy(update={"comparisons": rows}))
    assert answer[-1].startswith("Do not take this student for NER, where “Most frequent label” is better")


@pytest.mark.parametrize(("name", "words"), [("static", "Do not take"), ("other", "where its size or speed")])
def test_linear_model_is_an_alternative_whatever_its_size(name, words, results: Results):
    teacher, majority = results.models[0], results.models[-1]
    large = teacher.model_copy(update={"id": name, "name": name, "role": "baseline"})
    rows = (compare(name, "average", -0.1, WORSE), compare(majority.id, "average", 0.6, BETTER))
    changed = results.model_copy(update={"models": (*results.models, large), "comparisons": rows})
    assert words in write_answer(changed)[-1]


def test_answer_without_tasks_is_the_held_out_loss(results: Results):
    bare = keep_tasks(results).model_copy(update={"scores": (), "exports": ()})
    assert write_answer(bare) == (
        "The student for Maltese has 700,000 parameters, 89.9 % fewer than the teacher.",
        "Its loss on held-out text is 0.625 nats a byte, the teacher's 0.625.",
        "Whether to take this student is open: it was scored on no task. Label some sentences of a task, and "
        "run again.",
    )


def test_answer_of_a_run_without_student(results: Results):
    alone = results.model_copy(update={"models": results.models[:1]})
    assert write_answer(alone) == ("This run made no student.",)


def test_speed_without_a_significant_difference_is_not_a_number(results: Results):
    files = [
        one
        if one.ratio is None
        else one.model_copy(
            update={
                "ratio": one.ratio.model_copy(
                    update={"interval": one.ratio.interval.model_copy(update={"low": 0.9})}
                )
            }
        )
        for one in results.exports
    ]
    answer = write_answer(results.model_copy(update={"exports": tuple(files)}))
    assert answer[1].endswith("tokens, with no significant difference from the teacher's.")
