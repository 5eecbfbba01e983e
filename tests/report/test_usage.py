"""The lines of code in a report name the folders that a run publishes."""

from __future__ import annotations

import pytest

from harness.api import publish
from harness.report import usage
from harness.report.render import render_html, render_markdown
from harness.report.results import Results
from harness.report.usage import write_snippets
from harness.report.values import StudyDescription


def export_tasks(results: Results, *tasks: str) -> Results:
    declared = results.declared.model_copy(update={"exported_tasks": tasks})
    return results.model_copy(update={"declared": declared})


def test_folders_are_those_that_are_published():
    assert (usage.STUDENT, usage.MODELS) == (publish.STUDENT, publish.MODELS)


def test_snippets_name_the_student_and_the_first_task(results: Results):
    snippets = write_snippets(export_tasks(results, "topic", "pos"))
    assert [one.title for one in snippets] == [
        "transformers, student/", "onnxruntime, onnx/topic/", "transformers.js, onnx/topic/",
    ]  # fmt: skip
    assert 'model="student"' in snippets[0].code
    assert 'folder = "onnx/topic"' in snippets[1].code
    assert 'pipeline("text-classification", "topic"' in snippets[2].code


@pytest.mark.parametrize("task", ["topic", "nli"])
def test_python_snippets_compile(task, results: Results):
    for snippet in write_snippets(export_tasks(results, task)):
        if snippet.language == "python":
            compile(snippet.code, snippet.title, "exec")


def test_task_of_two_texts_has_two_texts(results: Results):
    snippets = write_snippets(export_tasks(results, "nli"))
    assert len(snippets) == 2
    assert 'tokenizer.encode("A premise.", "A hypothesis.")' in snippets[1].code


def test_run_without_tasks_has_the_students_snippet_alone(results: Results):
    assert [one.title for one in write_snippets(export_tasks(results))] == ["transformers, student/"]


def test_snippets_are_in_both_reports(results: Results):
    assert "```python\nfrom transformers import pipeline\n" in render_markdown(results)
    assert "from transformers import pipeline" in render_html(results)


def test_study_has_no_snippets(results: Results):
    study = StudyDescription(question="Which?", paper=None, reference=None)
    assert write_snippets(results.model_copy(update={"study": study})) == []
