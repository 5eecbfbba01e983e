"""Every stage of a run over a data folder: its outputs, its facts, and their agreement."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM

from harness.api.publish import FIGURES, publish_run
from harness.config.load import load_recipe, load_scale
from harness.config.steps.trim import ResolvedTrim
from harness.data import corpus
from harness.data.examples import TextExample, TokenExample
from harness.export.record import RECORD, read_export
from harness.json_files import read_json
from harness.measure.predictions import read_predictions
from harness.measure.scores import score
from harness.models.loading import checkpoint
from harness.pipeline.verify import verify
from harness.plans.run import plan_run
from harness.report.results import Results, read_results
from harness.stages import trim
from harness.stages.io.artifacts import read_task
from harness.tasks import TASKS

TRAINED = ("adapt", "distill")
TASKS_THERE = ("pos", "topic")


def weights(run, stage):
    return load_file(run.folder(stage) / "model" / "model.safetensors")


def test_finished_run_has_every_stage_undamaged(finished):
    assert len(finished.store.list_stages()) == len(finished.planned.plan)
    assert verify(finished.store.root) == []
    assert not list(finished.store.root.rglob(".partial*"))
    assert not list(finished.store.root.rglob("checkpoint*"))
    assert not list(finished.store.root.rglob("scratch"))


def test_every_step_has_the_planned_shape(finished):
    for step in finished.planned.steps:
        facts = finished.facts(step.id)
        assert facts["shape"] == step.shape.model_dump()
        assert facts["parameters"] == step.shape.parameters()
        path = finished.folder(step.id) / "model" / "model.safetensors"
        assert facts["size_bytes"] == path.stat().st_size
        model, tokenizer = checkpoint.load_checkpoint(path.parent)
        assert sum(parameter.numel() for parameter in model.parameters()) == step.shape.num_parameters
        assert len(tokenizer) == step.shape.vocabulary


def test_only_training_steps_change_weights(finished):
    shortened, distilled = weights(finished, "shorten"), weights(finished, "distill")
    assert shortened.keys() == distilled.keys()
    assert any(not torch.equal(shortened[name], distilled[name]) for name in shortened)
    adapted = weights(finished, "adapt")
    kept = {name.replace("layer.0.", "layer.1."): value for name, value in shortened.items()}
    assert all(torch.equal(adapted[name], value) for name, value in kept.items())


@pytest.mark.parametrize("step", TRAINED)
def test_training_is_recorded(step, finished):
    training = finished.facts(step)["training"]
    assert 600 <= training["tokens"] < 600 + 96
    assert training["tokens_per_s"] > 0
    assert training["resumed"] is False


@pytest.mark.parametrize("step", ["adapt", "shorten", "distill", "prune", "narrow", "trim"])
def test_every_step_is_measured_on_held_out_text(step, finished):
    held_out = finished.facts(step)["held_out"]
    assert 0 < held_out["loss"] < 10
    assert held_out["masked"] == finished.facts("adapt")["held_out"]["masked"] or step == "trim"


def test_corpus_has_no_line_of_a_dev_or_test_part(finished):
    scored = set()
    for task in TASKS_THERE:
        text = json.loads((finished.folder("tasks") / f"{task}.json").read_text(encoding="utf-8"))
        for part in ("dev", "test"):
            scored |= {one["text"] if "text" in one else " ".join(one["words"]) for one in text[part]}
    lines = [
        line
        for part in corpus.PARTS
        for document in corpus.read(finished.folder("corpus"), part)
        for line in document
    ]
    assert "kadin mifa toki" in lines
    assert not scored & set(lines)
    assert finished.facts("corpus")["mt"]["excluded"] == 1
    assert finished.facts("corpus")["mt"]["provenance"] == {"source": str(finished.data)}


def test_written_task_is_read_back_equal(finished, make_context):
    context = make_context({}, {"tasks": finished.folder("tasks")})
    topic, pos = read_task(context, "topic"), read_task(context, "pos")
    assert (topic.task, topic.labels, len(topic.train), len(topic.test)) == (
        TASKS["topic"],
        ("even", "odd"),
        12,
        10,
    )
    assert isinstance(topic.train[0], TextExample)
    assert isinstance(pos.train[0], TokenExample)
    assert set(pos.train[0].labels) <= {"NOUN", "VERB"}
    assert pos.language == "mt"


def test_pruning_records_its_rounds(finished):
    assert [one["ffn"] for one in finished.facts("prune")["rounds"]] == [20, 16]
    assert all(0 < one["kept_score_fraction"] <= 1 for one in finished.facts("prune")["rounds"])


def test_trimming_is_certified_on_held_out_text(finished):
    certificate = finished.facts("trim")["certificate"]
    assert certificate["num_tokens_after"] == 40
    assert certificate["num_lines"] == sum(map(len, corpus.read(finished.folder("corpus"), "held_out")))
    assert certificate["num_words_altered"] == 0
    assert certificate == json.loads(
        (finished.folder("trim") / "certificate.json").read_text(encoding="utf-8")
    )


def test_counting_reports_progress(finished, make_context):
    reported = []
    inputs = {"corpus": finished.folder("corpus"), "model": finished.folder("narrow")}
    step = ResolvedTrim(vocabulary=40)
    config = {"held_out_length": 16}
    context = make_context(config, inputs, progress=lambda *values: reported.append(values), step=step)
    facts = trim.run(context)
    lines = sum(map(len, corpus.read(finished.folder("corpus"), "train")))
    assert reported[-1] == (lines, lines, "lines", {})
    assert facts.certificate == finished.facts("trim")["certificate"]


def test_random_baseline_has_the_shape_but_not_the_weights(finished):
    for role, stage in (("teacher", "teacher"), ("student", "trim")):
        fresh, learnt = weights(finished, f"random-{role}"), weights(finished, stage)
        assert {name: value.shape for name, value in fresh.items()} == {
            name: value.shape for name, value in learnt.items()
        }
        same = [name for name in fresh if fresh[name].dim() == 2 and torch.equal(fresh[name], learnt[name])]
        assert same == []


@pytest.mark.parametrize(
    "model", ["teacher", "adapt", "trim", "trimmed-teacher", "random-student", "static", "tfidf", "majority"]
)
@pytest.mark.parametrize("task", TASKS_THERE)
def test_scores_follow_from_the_predictions(task, model, finished, make_context):
    data = read_task(make_context({}, {"tasks": finished.folder("tasks")}), task)
    gold = [one.label if task == "topic" else list(one.labels) for one in data.test]
    folder = finished.folder(f"score.{task}.{model}")
    kept = read_predictions(folder / "predictions.json.gz")
    scores = finished.facts(f"score.{task}.{model}")["scores"]
    seeded = "seeds" in scores
    assert list(kept.by_seed) == scores["by_seed"] == ([1, 2] if seeded else [0])
    assert seeded == (model not in {"static", "tfidf", "majority"})
    assert scores["n_test"] == 10
    assert kept.gold == gold
    assert kept.signature == scores["signature"]
    for metric in data.task.metrics:
        cell = scores["metrics"][metric]
        assert cell["values"] == pytest.approx([score(metric, gold, one) for one in kept.seeds])
        assert cell["mean"] == pytest.approx(np.mean(cell["values"]))
        assert cell["std"] == (pytest.approx(np.std(cell["values"], ddof=1)) if seeded else None)
        assert 0 <= cell["low"] <= cell["mean"] <= cell["high"] <= 1
    assert (folder / "model").is_dir() == (model in {"teacher", "trim"})


def test_most_frequent_label_is_scored_without_a_model(finished, make_context):
    data = read_task(make_context({}, {"tasks": finished.folder("tasks")}), "topic")
    top = Counter(sorted(one.label for one in data.train)).most_common(1)[0][0]
    right = np.mean([one.label == top for one in data.test])
    assert finished.facts("score.topic.majority")["scores"]["metrics"]["accuracy"]["mean"] == pytest.approx(
        right
    )


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize("task", TASKS_THERE)
def test_export_predicts_like_the_model(task, role, finished):
    folder, facts = finished.folder(f"export.{task}.{role}") / "onnx", finished.facts(f"export.{task}.{role}")
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    ids_BL = np.array([[2, 6, 7, 8, 3]])
    batch = {
        "input_ids": ids_BL,
        "attention_mask": np.ones_like(ids_BL),
        "token_type_ids": np.zeros_like(ids_BL),
    }
    (logits,) = session.run(None, {one.name: batch[one.name] for one in session.get_inputs()})
    assert logits.shape == ((1, 5, 17) if task == "pos" else (1, 2))
    assert facts["fp32"]["max_abs_delta"] <= 1e-4
    assert facts["fp32"]["size_bytes"] == (folder / "model.onnx").stat().st_size
    assert facts["int8"]["size_bytes"] == (folder / "model_int8.onnx").stat().st_size
    assert (folder / "tokenizer.json").is_file()


def test_every_file_is_timed_against_the_teachers(finished):
    rows = finished.facts("latency")["latency"]
    names = {(row["task"], row["role"], row["precision"]) for row in rows}
    assert names == {(t, r, p) for t in TASKS_THERE for r in ("teacher", "student") for p in ("fp32", "int8")}
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p90_ms"]
        assert row["rounds"] >= 3
        if (row["role"], row["precision"]) == ("teacher", "fp32"):
            assert row["speed_ratio"]["value"] == pytest.approx(1.0)


def test_report_has_a_manifest_for_each_number(finished):
    text = (finished.folder("report") / "results.json").read_text(encoding="utf-8")
    results = Results.model_validate_json(text)
    assert results.declared.tasks == {"pos": "accuracy", "topic": "macro_f1"}
    manifests = {
        json.loads(path.read_text(encoding="utf-8"))["key"]
        for path in finished.store.root.rglob("manifest.json")
    }
    assert results.find_problems(manifests) == []
    assert [one.id for one in results.models] == [one.id for one in finished.planned.scored]
    assert results.run.language_name == "Maltese"
    assert results.run.teacher == "teacher"
    assert [one.id for one in results.models if one.parameters is None] == ["tfidf", "majority"]
    for model in results.models:
        assert model.id in {"tfidf", "majority"} or model.parameters == finished.facts(model.id)["parameters"]
        cell = finished.facts(f"score.topic.{model.id}")["scores"]["metrics"]["macro_f1"]
        assert results.find_score(model.id, "topic").mean == pytest.approx(cell["mean"])
    assert {one.step for one in results.training} == set(TRAINED)


def test_models_are_compared_with_teacher_and_baselines(finished):
    rows = finished.facts("compare")["comparisons"]
    ids = [one.id for one in finished.planned.scored]
    pairs = [(one, "teacher") for one in ids[1:]] + [("trim", one) for one in ids[6:]]
    assert [(row["model"], row["other"]) for row in rows if row["task"] == "average"] == pairs
    assert len(rows) == 3 * len(pairs)
    means = {
        name: finished.facts(f"score.topic.{name}")["scores"]["metrics"]["macro_f1"]["mean"] for name in ids
    }
    for row in (one for one in rows if one["task"] == "topic"):
        assert row["difference"]["value"] == pytest.approx(means[row["model"]] - means[row["other"]])
        assert row["difference"]["low"] <= row["difference"]["high"]
        assert 0 < row["p_value"] <= row["p_holm"] <= 1


def test_signatures_differ_by_data_seeds_and_model(finished):
    lines = {
        one: finished.facts(f"score.topic.{one}")["scores"]["signature"]
        for one in ("teacher", "trim", "tfidf")
    }
    parts = {one: dict(part.split(":", 1) for part in line.split("|")) for one, line in lines.items()}
    assert parts["teacher"]["seeds"] == parts["trim"]["seeds"] == "1,2"
    assert parts["teacher"]["data"] == parts["tfidf"]["data"]
    assert parts["teacher"]["data"].startswith("folder#")
    assert parts["teacher"]["model"] != parts["trim"]["model"]
    assert parts["teacher"]["torch"]
    assert parts["tfidf"]["scikit-learn"]
    assert str(finished.data) not in lines["teacher"]


def test_run_is_published_at_the_top_of_its_folder(finished, tmp_path):
    folder = publish_run(finished.planned, finished.store, tmp_path / "out")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {
        "report.md",
        "report.html",
        "results.json",
        "onnx/pos/model.onnx",
        "onnx/topic/model_int8.onnx",
    } <= names
    assert not any("manifest" in name or ".part" in name for name in names)
    kept = (folder / "onnx/pos/model.onnx").stat().st_mtime_ns
    (folder / "report.md").write_text("edited", encoding="utf-8")
    publish_run(finished.planned, finished.store, folder)
    assert (folder / "onnx/pos/model.onnx").stat().st_mtime_ns == kept
    assert (folder / "report.md").read_bytes() == (finished.folder("report") / "report.md").read_bytes()


def test_every_published_task_is_an_export(finished, tmp_path):
    folder = publish_run(finished.planned, finished.store, tmp_path / "out") / "onnx"
    for task in TASKS_THERE:
        assert read_export(folder / task).task == task
        record = read_json(folder / task / RECORD)
        assert {file["precision"] for file in record["files"]} == {"fp32", "fp16", "int8"}
        assert record["language"] == "mt"
        assert record["labels"] == finished.facts("tasks")[task]["labels"]
        assert record["lineage"]["steps"][-1]["stage"] == f"score.{task}.trim"
        for file in record["files"]:
            assert (folder / task / file["file"]).stat().st_size == file["size_bytes"]
            assert file["max_abs_delta"] < (1e-3 if file["precision"] == "fp32" else 10)
            assert file["gate"] == ("the measure" if file["precision"] == "fp32" else file["gate"])
            assert file["scores"].keys() == set(TASKS[task].metrics)
        assert record["default"] in (folder / task / "README.md").read_text(encoding="utf-8")
        environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "predict.py", "kadin mifa"],
            cwd=folder / task, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert any(label in done.stdout for label in record["labels"])


def test_scores_of_a_published_file_are_those_of_its_fine_tuned_model(finished):
    for task in TASKS_THERE:
        scores = finished.facts(f"score.{task}.trim")["scores"]["metrics"]
        record = read_json(finished.folder(f"package.{task}") / RECORD)
        for metric, measured in record["files"][0]["scores"].items():
            assert measured["value"] == pytest.approx(scores[metric]["values"][0], abs=1e-6)


def test_report_has_the_share_of_labels_that_a_published_file_keeps(finished):
    results = read_results(finished.folder("report") / "results.json")
    kept = {(one.task, one.precision): one.label_agreement for one in results.exports if one.model == "trim"}
    assert {task for task, _ in kept} == {*TASKS_THERE}
    for (task, precision), share in kept.items():
        files = read_json(finished.folder(f"package.{task}") / RECORD)["files"]
        assert share == next(one["label_agreement"] for one in files if one["precision"] == precision)
        assert share == 1 if precision == "fp32" else 0 < share <= 1
    assert all(one.label_agreement is None for one in results.exports if one.model == "teacher")


def test_verdict_of_the_stage_precisions_is_kept(finished):
    copies = {(one["task"], one["precision"]): one for one in finished.facts("precisions")["copies"]}
    assert copies
    for (task, precision), copy in copies.items():
        files = read_json(finished.folder(f"package.{task}") / RECORD)["files"]
        (file,) = [one for one in files if one["precision"] == precision]
        assert file["verdict"] == copy["verdict"]
        assert file["size_bytes"] == copy["size_bytes"]


def plan_again(finished, folder, write_scale, write_recipe, **changes):
    """Return the plan of the finished run with other settings of the scale, and copy what the run made."""
    shutil.copytree(finished.store.root, folder / "runs")
    changes = {
        "tasks.names": ["pos", "ner", "topic", "sentiment"],
        "corpus.lines": 1000,
        "export.precisions": ["fp16"],
    } | changes
    scale = load_scale(write_scale(folder, changes)).with_data(str(finished.data))
    scale = scale.with_teacher(str(finished.data.parent / "teacher"))
    return plan_run("mt", load_recipe(write_recipe(folder)), scale)


def test_run_that_scores_one_student_describes_all(finished, run_plan, tmp_path, write_scale, write_recipe):
    planned = plan_again(finished, tmp_path, write_scale, write_recipe, **{"score.models": "final"})
    run = run_plan(planned, tmp_path / "runs", finished.data)
    results = Results.model_validate_json((run.folder("report") / "results.json").read_bytes())
    students = [model.id for model in results.list_models("student")]
    assert students == ["adapt", "distill", "prune", "narrow", "trim"]
    scored = {score.model for score in results.scores}
    assert scored & set(students) == {"trim"}
    assert {model.id for model in planned.scored} == scored
    assert {loss.model for loss in results.held_out} >= set(students)
    text = (run.folder("report") / "report.md").read_text(encoding="utf-8")
    assert "| distill |" in text


def test_run_without_scores_ends_with_two_exports(finished, run_plan, tmp_path, write_scale, write_recipe):
    planned = plan_again(finished, tmp_path, write_scale, write_recipe, **{"score.models": "none"})
    assert planned.plan.keys["trim"] == finished.planned.plan.keys["trim"]
    run = run_plan(planned, tmp_path / "runs", finished.data)
    folder = publish_run(planned, run.store, tmp_path / "out")
    assert {path.name for path in (folder / "onnx").iterdir()} == {"encoder", "mlm"}
    for head in ("encoder", "mlm"):
        assert read_export(folder / "onnx" / head).task == head
        record = read_json(folder / "onnx" / head / RECORD)
        assert record["default"] == "fp32"
        assert [file["gate"] for file in record["files"]] == ["the measure", "not scored"]
        assert (folder / "onnx" / head / "README.md").is_file()
    model = AutoModelForMaskedLM.from_pretrained(folder / "student")
    session = onnxruntime.InferenceSession(folder / "onnx/mlm/model.onnx")
    tokens = {"input_ids": np.array([[5, 6, 7]]), "attention_mask": np.ones((1, 3), np.int64)}
    with torch.no_grad():
        expected = model(**{name: torch.tensor(value) for name, value in tokens.items()}).logits
    named = {one.name for one in session.get_inputs()}
    given = tokens | {"token_type_ids": np.zeros((1, 3), np.int64)}
    (logits,) = session.run(None, {name: given[name] for name in named})
    assert np.allclose(logits, expected.numpy(), atol=1e-4)
    assert "loss" in (folder / "student/README.md").read_text(encoding="utf-8")


def test_publishing_removes_files_of_an_earlier_report(finished, tmp_path):
    folder = publish_run(finished.planned, finished.store, tmp_path / "out")
    for name in ("onnx/topic/model_q4.onnx", "score-by-variant.svg", "notes.txt"):
        (folder / name).write_text("earlier", encoding="utf-8")
    publish_run(replace(finished.planned, exported=("topic",)), finished.store, folder)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert {"onnx/topic/model.onnx", "report.md", "notes.txt"} <= names
    assert not {"onnx/pos", "onnx/topic/model_q4.onnx", "score-by-variant.svg"} & names
    publish_run(replace(finished.planned, exported=()), finished.store, folder)
    assert not (folder / "onnx").exists()
    drawn = {path.name for path in finished.folder("report").glob("*.svg")}
    assert drawn
    assert drawn <= set(FIGURES)
