"""Tables of comparisons: they claim what was shown, and nothing can make them claim more."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from harness.report import comparisons, tables
from harness.report.render import render_markdown
from harness.report.results import ComparisonRow, Results
from harness.report.values import Estimate


def comparison(task: str, low: float, high: float, words: str, p_holm: float | None = 0.01, **names: str):
    return ComparisonRow(
        model=names.get("model", "trim"),
        other=names.get("other", "teacher"),
        task=task,
        difference=Estimate(value=(low + high) / 2, low=low, high=high),
        retention=Estimate(value=0.93, low=0.9, high=0.96),
        p_value=p_holm,
        p_holm=p_holm,
        p_wilcoxon=p_holm,
        verdict=words,
        key="ab" * 6,
    )


@pytest.fixture
def compared(results: Results) -> Results:
    rows = [
        comparison("pos", -0.08, -0.04, "worse"),
        comparison("ner", -0.03, 0.05, "not told apart", 0.00001),
        comparison("average", -0.06, -0.02, "worse", None),
        comparison("pos", 0.1, 0.2, "better", other="majority"),
    ]
    return results.model_copy(update={"comparisons": tuple(rows)})


def test_each_model_stands_beside_the_teacher_task_by_task(compared: Results):
    made = comparisons.beside_teacher(compared)
    assert made.header == ("Model", "POS", "NER", "Topic", "Sentiment", "Average")
    assert made.rows == (
        (
            "Student",
            "−6.0 (−8.0 to −4.0): worse",
            "+1.0 (−3.0 to +5.0): not told apart",
            "–",
            "–",
            "−4.0 (−6.0 to −2.0): worse",
        ),
    )


def test_the_student_stands_beside_the_baselines(compared: Results):
    made = comparisons.beside_baselines(compared)
    assert made.title == "Student, beside each baseline"
    assert [row[:2] for row in made.rows] == [("Most frequent label", "+15.0 (+10.0 to +20.0): better")]


def test_the_share_of_the_teacher_has_its_interval_where_the_two_were_compared(compared: Results):
    student = tables.scores(compared).rows[2]
    assert student[-1] == "93.0 (90.0–96.0)"
    assert "93.0 (90.0–96.0) % of the teacher's average score" in tables.headline(compared)
    assert tables.scores(compared).rows[0][-1] == "100.0"


def test_every_comparison_is_told_with_its_tests(compared: Results):
    made = comparisons.all_comparisons(compared)
    assert made.rows[0][4:9] == ("93.0 (90.0–96.0)", "0.0100", "0.0100", "0.0100", "worse")
    assert made.rows[1][5] == "< 0.0001"
    assert made.rows[2][5:8] == ("–", "–", "–")
    text = render_markdown(compared)
    assert "### Beside the teacher" in text
    assert "### Every comparison" in text


def test_results_without_comparisons_have_no_such_tables(results: Results):
    assert "Beside the teacher" not in render_markdown(results)


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "words"),
    [
        (-0.01, 0.05, 0.001, "better"),
        (0.0, 0.05, 0.001, "better"),
        (0.01, 0.05, 0.05, "better"),
        (0.01, 0.05, 0.001, "worse"),
        (0.01, 0.05, None, "not told apart"),
    ],
)
def test_words_that_the_numbers_do_not_bear_out_are_refused(low, high, p_holm, words):
    with pytest.raises(ValidationError, match=f"'{words}' is not what difference and p-value bear out"):
        comparison("pos", low, high, words, p_holm)


def test_signatures_stand_once_for_a_model_and_task(results: Results):
    signed = [one.model_copy(update={"signature": f"task:{one.task}"}) for one in results.scores]
    made = comparisons.signatures(results.model_copy(update={"scores": (*signed, signed[0])}))
    assert len(made.rows) == 20
    assert made.rows[0] == ("Teacher", "POS", "task:pos")


def test_a_comparison_of_a_model_that_is_not_described_is_a_problem(compared: Results):
    lost = compared.model_copy(update={"comparisons": (comparison("pos", 0.1, 0.2, "better", model="gone"),)})
    assert lost.problems() == ["model 'gone' is named but not described"]
