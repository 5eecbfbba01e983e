"""Tables of comparisons: they claim a difference only where it is significant."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from harness.report import comparisons, tables
from harness.report.answer import write_answer
from harness.report.render import render_markdown
from harness.report.results import ComparisonRow, Results
from harness.report.values import Estimate


def make_comparison(
    task: str, low: float, high: float, verdict: str, p_holm: float | None = 0.01, **names: str
):
    return ComparisonRow(
        model=names.get("model", "trim"),
        other=names.get("other", "teacher"),
        task=task,
        difference=Estimate(value=(low + high) / 2, low=low, high=high),
        retention=Estimate(value=0.93, low=0.9, high=0.96),
        p_value=p_holm,
        p_holm=p_holm,
        p_wilcoxon=p_holm,
        verdict=verdict,
        key="ab" * 6,
    )


@pytest.fixture
def compared(results: Results) -> Results:
    rows = [
        make_comparison("pos", -0.08, -0.04, "worse"),
        make_comparison("ner", -0.03, 0.05, "not told apart", 0.00001),
        make_comparison("average", -0.06, -0.02, "worse", None),
        make_comparison("pos", 0.1, 0.2, "better", other="majority"),
    ]
    return results.model_copy(update={"comparisons": tuple(rows)})


def test_each_model_is_compared_with_the_teacher(compared: Results):
    table = comparisons.compare_with_teacher(compared)
    assert table.header == ("Model", "POS", "NER", "Topic", "Sentiment", "Average")
    assert table.rows == (
        (
            "Student",
            "−6.0 (−8.0 to −4.0): worse",
            "+1.0 (−3.0 to +5.0): no significant difference",
            "–",
            "–",
            "−4.0 (−6.0 to −2.0): worse",
        ),
    )


def test_student_is_compared_with_the_baselines(compared: Results):
    table = comparisons.compare_with_baselines(compared)
    assert table.title == "Student, compared with each baseline"
    assert [row[:2] for row in table.rows] == [("Most frequent label", "+15.0 (+10.0 to +20.0): better")]


def test_share_of_the_teacher_has_an_interval_after_comparison(compared: Results):
    student = tables.tabulate_scores(compared).rows[2]
    assert student[-1] == "93.0 (90.0–96.0)"
    assert "93.0 (90.0–96.0) % of the teacher's average score" in " ".join(write_answer(compared))
    assert tables.tabulate_scores(compared).rows[0][-1] == "100.0"


def test_every_comparison_is_listed_with_its_tests(compared: Results):
    table = comparisons.tabulate_comparisons(compared)
    assert table.rows[0][4:9] == ("93.0 (90.0–96.0)", "0.0100", "0.0100", "0.0100", "worse")
    assert table.rows[1][5] == "< 0.0001"
    assert table.rows[2][5:8] == ("–", "–", "–")
    text = render_markdown(compared)
    assert "### Compared with the teacher" in text
    assert "### Every comparison" in text


def test_results_without_comparisons_have_no_table_of_them(results: Results):
    assert "Compared with the teacher" not in render_markdown(results)


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "verdict"),
    [
        (-0.01, 0.05, 0.001, "better"),
        (0.0, 0.05, 0.001, "better"),
        (0.01, 0.05, 0.05, "better"),
        (0.01, 0.05, 0.001, "worse"),
        (0.01, 0.05, None, "not told apart"),
    ],
)
def test_verdict_that_does_not_follow_from_the_numbers_is_refused(low, high, p_holm, verdict):
    with pytest.raises(ValidationError, match=f"'{verdict}' does not follow from the difference"):
        make_comparison("pos", low, high, verdict, p_holm)


def test_signature_of_a_model_and_task_is_listed_once(results: Results):
    signed = [one.model_copy(update={"signature": f"task:{one.task}"}) for one in results.scores]
    table = comparisons.tabulate_signatures(results.model_copy(update={"scores": (*signed, signed[0])}))
    assert len(table.rows) == 20
    assert table.rows[0] == ("Teacher", "POS", "task:pos")


def test_comparison_of_an_undescribed_model_is_a_problem(compared: Results):
    lost = compared.model_copy(
        update={"comparisons": (make_comparison("pos", 0.1, 0.2, "better", model="gone"),)}
    )
    assert lost.find_problems() == ["model 'gone' is named but not described"]
