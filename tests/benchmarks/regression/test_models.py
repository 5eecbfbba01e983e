"""The small models are made by the method's steps and counted exactly; every timed step runs on them."""

from __future__ import annotations

import io
import json

import onnx
import pytest

from benchmarks.regression import counts, models, worker
from benchmarks.regression.stages import UNITS, count_work
from benchmarks.regression.table import ENTRIES, STAGES, find_entry
from benchmarks.regression.verdict import compare_counts
from harness.errors import HarnessError
from harness.models.loading.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("models")
    models.make_models(made)
    return made


@pytest.fixture(scope="module")
def counted(folder):
    return counts.count_models(folder)


def test_student_has_the_shape_of_the_method(folder):
    config = load_checkpoint(folder / "student").model.config
    shape = (config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.vocab_size)
    assert shape == (3, 48, 256, 900)


def test_counts_match_models_and_files(folder, counted):
    model = load_checkpoint(folder / "student").model
    parts = [value for name, value in counted.items() if name.startswith("parameters of student")]
    assert sum(parts) == sum(one.numel() for one in model.parameters())
    path = folder / "student/onnx/model.onnx"
    assert counted["bytes of student/model.onnx"] == path.stat().st_size
    kinds = [value for name, value in counted.items() if name.startswith("operators of student/model.onnx, ")]
    assert counted["operators of student/model.onnx"] == sum(kinds) == len(onnx.load(path).graph.node)
    assert counted["FLOPs of teacher, 4 × 64 tokens"] > counted["FLOPs of student, 4 × 64 tokens"] > 0
    assert counted["FLOPs of a distillation step"] > 0


def test_heads_answer_better_than_chance(counted):
    chance = len(models.read_topics().test) / len(models.read_topics().labels)
    for role in models.ROLES:
        assert counted[f"right answers of {role}, torch"] > 1.2 * chance
        assert counted[f"right answers of {role}, torch"] == counted[f"right answers of {role}, onnx"]


def test_one_operator_more_in_a_graph_is_worse(folder, counted, tmp_path):
    model = onnx.load(folder / "student/onnx/model.onnx")
    name = model.graph.output[0].name
    node = next(one for one in model.graph.node if name in one.output)
    node.output[list(node.output).index(name)] = "before"
    model.graph.node.append(onnx.helper.make_node("Identity", ["before"], [name]))
    onnx.save(model, tmp_path / "model.onnx")
    grown = {
        f"operators of student/model.onnx{kind}": one
        for kind, one in counts.count_operators(tmp_path / "model.onnx").items()
    }
    before = {one: value for one, value in counted.items() if one in grown}
    assert [(one.name, one.head - one.base, one.word) for one in compare_counts(before, grown)] == [
        ("operators of student/model.onnx", 1, "worse"),
        ("operators of student/model.onnx, Identity", 1, "worse"),
    ]


def test_equal_code_has_equal_counts(counted, tmp_path):
    models.make_models(tmp_path)
    assert compare_counts(counted, counts.count_models(tmp_path)) == []


def test_worker_runs_and_times_every_step(folder):
    names = [one.full_name for one in ENTRIES]
    commands = [{"do": "load", "folder": str(folder), "names": names}]
    commands += [{"do": "time", "name": name, "calls": 2, "clock": "cpu"} for name in names]
    commands += [{"do": "time", "name": "none such", "calls": 2, "clock": "cpu"}]
    answers = io.StringIO()
    worker.serve(io.StringIO("\n".join(map(json.dumps, commands))), answers)
    loaded, *timed, unknown = map(json.loads, answers.getvalue().splitlines())
    assert loaded == {"refused": {}}
    assert all(len(one["durations_ns"]) == 2 and min(one["durations_ns"]) > 0 for one in timed)
    assert unknown == {"error": "KeyError: 'none such'"}


def test_step_that_cannot_be_made_is_refused_alone(tmp_path):
    server = worker.Server()
    names = ["stages: adapt", "ops: hidden_state_loss"]
    (refused,) = server.load(str(tmp_path), names)["refused"].items()
    assert refused[0] == "stages: adapt"
    assert "HarnessError: " in refused[1]
    assert list(server.steps) == ["ops: hidden_state_loss"]


def test_unknown_step_is_refused():
    with pytest.raises(
        HarnessError, match=r"unknown benchmark 'ops: none'; there are: ops: distillation_loss, "
    ):
        find_entry("ops: none")


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_has_an_amount_of_work(name, folder):
    assert UNITS[name] in {"tokens", "texts"}
    assert count_work(name, folder) > 10
