"""The cards of a student and of an export: text from elsewhere is text, in the body and in the head."""

from __future__ import annotations

from html.parser import HTMLParser

import fastjsonschema
import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from harness.report.model_card import render_model_card
from harness.report.results import Results
from harness.report.student_card import render_student_card

HOSTILE = (
    "<script>x</script> <img src=x onerror=y> ![i](http://evil/x.png) [l](javascript:alert) | `\n---\n"
    "# \x1b]0;t\x07\x1b[31m\u202e\x9b1m: '\"{{ 7 * 7 }}"
)


class Tags(HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.targets: list[str | None] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.targets += [value for name, value in attrs if name in ("src", "href") or name.startswith("on")]


def check_card(card: str) -> dict[str, object]:
    """Check that a card has no active part; return its head."""
    assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(card)
    assert "{{" in card
    head, body = card.split("---\n", 2)[1:]
    page = Tags()
    page.feed(MarkdownIt("commonmark").enable("table").render(body))
    assert not {"script", "img", "iframe"} & set(page.seen)
    assert page.targets == []
    assert page.seen.count("h1") == 1
    value = yaml.safe_load(head)
    assert isinstance(value, dict)
    return value


RULES = {
    "type": "object",
    "required": ["license", "library_name", "pipeline_tag", "tags"],
    "properties": {
        "license": {"enum": ["unknown", "other", "mit", "cc-by-4.0"]},
        "license_name": {"type": "string", "pattern": "^[a-z0-9.+-]+$"},
        "library_name": {"enum": ["transformers", "transformers.js", "onnx"]},
        "pipeline_tag": {"enum": ["token-classification", "text-classification", "fill-mask"]},
        "base_model": {"type": "string", "pattern": "^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$"},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "metrics": {"type": "array", "items": {"enum": ["accuracy", "f1"]}},
        "model-index": {
            "type": "array",
            "items": {
                "required": ["name", "results"],
                "properties": {
                    "results": {
                        "items": {
                            "required": ["task", "dataset", "metrics"],
                            "properties": {
                                "task": {"required": ["type"]},
                                "dataset": {"required": ["type", "name"]},
                                "metrics": {"items": {"required": ["type", "value"]}, "minItems": 1},
                            },
                        }
                    }
                },
            },
        },
    },
    "if": {"properties": {"license": {"const": "other"}}},
    "then": {"required": ["license_name"]},
}
"""What the hub's documentation of cards asks of the head of a model's card."""
follow_rules = fastjsonschema.compile(RULES)


@pytest.mark.parametrize(
    ("licence", "expected"),
    [("MIT", ("mit", None)), ("CC BY 4.0", ("cc-by-4.0", None)), ("MAKIA 1", ("other", "makia-1"))],
)
def test_head_follows_the_rules_of_the_hub(results: Results, licence, expected):
    teacher = {"name": "intfloat/multilingual-e5-small", "revision": 40 * "a"}
    lineage = {"teacher": teacher, "licences": {"teacher": licence, "data": []}, "steps": []}
    card = render_student_card(results, lineage)
    head = yaml.safe_load(card.split("---\n")[1])
    follow_rules(head)
    assert (head["license"], head.get("license_name")) == expected
    assert head["base_model"] == teacher["name"]
    read = ModelCard(card).data
    assert {one.task_name for one in read.eval_results} == set(results.declared.tasks)
    assert read.to_dict()["license"] == expected[0]


def test_student_card_escapes_what_it_quotes(results: Results):
    fields = ("language", "language_name", "recipe", "scale", "recipe_source", "teacher")
    run = results.run.model_copy(update=dict.fromkeys(fields, HOSTILE))
    models = tuple(one.model_copy(update={"name": HOSTILE}) for one in results.models)
    step = dict.fromkeys(("stage", "kind", "key", "commit"), HOSTILE)
    lineage = {
        "teacher": {"name": HOSTILE, "revision": HOSTILE},
        "licences": {"teacher": HOSTILE, "data": [HOSTILE, HOSTILE]},
        "steps": [step],
    }
    head = check_card(render_student_card(results.model_copy(update={"run": run, "models": models}), lineage))
    assert head.keys() >= {"language", "license", "library_name", "pipeline_tag", "tags"}
    assert "base_model" not in head
    assert len(head["model-index"][0]["results"]) == len(results.declared.tasks)


@pytest.fixture
def record():
    """The record of an export, every text of which is hostile."""
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    row = {
        "precision": HOSTILE, "what": HOSTILE, "file": HOSTILE, "size_bytes": 1, "compressed_bytes": 1,
        "max_abs_delta": 0.1, "argmax_agreement": 0.9, "label_agreement": 0.9, "p50_ms": 1.0, "p99_ms": 2.0,
        "kept_parts": [HOSTILE],
        "speed_ratio": {"value": 2.0, "low": 1.5, "high": 2.5}, "gate": HOSTILE,
        "scores": {HOSTILE: score}, "verdict": {"reason": HOSTILE},
    }  # fmt: skip
    candidate = {"name": HOSTILE, "max_abs_delta": None, "p50_ms": None, "refusal": HOSTILE}
    return {
        "name": HOSTILE, "architecture": HOSTILE, "task": "pos", "paired": False, "labels": [HOSTILE],
        "layout": "plain", "language": HOSTILE, "licence": HOSTILE, "default": HOSTILE,
        "default_reason": HOSTILE, "length": 8, "threads": 1, "files": [row], "dtypes": [],
        "graph": {
            "graph": HOSTILE, "attention": HOSTILE, "opset": 18, "inputs": [HOSTILE], "output": HOSTILE,
            "reason": HOSTILE, "candidates": [candidate],
        },
        "allowed_drop": 0.005, "num_dev": 1, "num_test": 1, "data_source": HOSTILE,
        "lineage": {
            "teacher": {"name": HOSTILE, "revision": HOSTILE},
            "licences": {"teacher": HOSTILE, "data": [HOSTILE]},
            "data": {HOSTILE: {"source": HOSTILE, "revision": HOSTILE, "licence": HOSTILE}},
            "steps": [dict.fromkeys(("stage", "kind", "key", "commit"), HOSTILE)],
        },
        "environment": {"cpu": HOSTILE, "versions": {"onnxruntime": HOSTILE}},
    }  # fmt: skip


def test_model_card_escapes_what_it_quotes(record):
    head = check_card(render_model_card(record))
    assert head.keys() == {
        "language", "license", "license_name", "library_name", "pipeline_tag", "metrics", "tags",
        "model-index",
    }  # fmt: skip
    result = head["model-index"][0]["results"][0]
    assert result["task"]["type"] == "token-classification"
    assert result["metrics"][0]["value"] == 50.0


def test_teacher_that_was_trained_here_has_no_revision(record):
    lineage = record["lineage"] | {"teacher": {"name": "trained by this program", "shape": None}}
    assert "- Teacher: trained by this program; licence: " in render_model_card(record | {"lineage": lineage})
