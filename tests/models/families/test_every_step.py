"""From the published encoder to a scored and exported student: every step of a recipe, in each family."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass

import onnxruntime
import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from harness.config.load import load_recipe, load_scale
from harness.config.losses import DISTILL_LOSSES, LOSSES
from harness.export.graphs import WAYS, write_graph
from harness.export.source import load_source
from harness.families import FAMILIES
from harness.pipeline import manifest
from harness.pipeline.execute import Observer, execute
from harness.pipeline.manifest import Environment
from harness.pipeline.plan import Plan
from harness.pipeline.store import Store
from harness.plans.run import RunPlan, plan_run
from harness.stages import RUNNERS

CHANGES = {
    "tasks.names": ["topic"],
    "score.models": "final",
    "score.seeds": [1],
    "score.baselines": [],
    "training.head": {"tokens": 600, "batch_tokens": 96},
    "training.narrow": {"tokens": 400, "batch_tokens": 96},
}
ATTENTION = {"attention", "relations"}


def choose_losses(family):
    """Return every loss that the family supports, of equal weight."""
    able = "attention" in FAMILIES[family].supports
    return {name: 0.1 for name in DISTILL_LOSSES if able or LOSSES[name].looks_at not in ATTENTION}


def list_steps(family):
    """Return a recipe with every kind of step that changes a model or trains it."""
    narrow = {"basis": "pca"} if "narrow on text" in FAMILIES[family].supports else {"basis": "importance"}
    losses = choose_losses(family)
    settings = {"temperature": 2, "layers": "uniform"}
    settings |= {"relation_split": 1} if "relation_qq" in losses else {}
    return [
        {"trim": {"tokens": "9/10"}},
        {"adapt": {}},
        {"shorten": {"layers": "2/3", "keep": "strided"}},
        {"distill": {"teacher": "adapt", "loss": losses, **settings}},
        {"prune": {"width": "2/3", "score": "taylor", "rounds": 2, "mask_fraction": 0.15}},
        {"narrow": {"width": "1/2", "heads": "dropped", "mask_fraction": 0.15, **narrow}},
        {"distill": {"teacher": "distill", "loss": {"logit_kl": 1}, "temperature": 2}},
    ]


@dataclass(frozen=True)
class Run:
    """The finished stages of a run."""

    planned: RunPlan
    store: Store

    def folder(self, stage):
        return self.store.find(self.planned.plan.keys[stage])

    def facts(self, stage):
        return manifest.read(self.folder(stage)).facts

    @property
    def student(self):
        return self.folder(self.planned.student) / "model"


def select_stages(plan: Plan, last: str) -> Plan:
    """Return a stage, and the stages that it needs."""
    by_id = {stage.id: stage for stage in plan}
    needed, left = set(), [last]
    while left:
        stage = by_id[left.pop()]
        needed.add(stage.id)
        left += [name for name in stage.inputs.values() if name in by_id]
    return Plan([stage for stage in plan if stage.id in needed])


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_data):
    folder = write_data(tmp_path_factory.mktemp("data") / "data")
    shutil.rmtree(folder / "pos")
    return folder


@pytest.fixture(scope="module")
def plan(encoder, published, tmp_path_factory, write_scale, write_recipe):
    """Return a function that plans the run over a data folder."""
    root = tmp_path_factory.mktemp("plan")
    recipe = load_recipe(write_recipe(root, list_steps(encoder.family)))
    scale = load_scale(write_scale(root, CHANGES)).with_teacher(str(published))
    return lambda data: plan_run("mt", recipe, scale.with_data(str(data)))


@pytest.fixture(scope="module")
def run(plan, data, tmp_path_factory) -> Run:
    planned = plan(data)
    store = Store(tmp_path_factory.mktemp("runs"))
    stages = select_stages(planned.plan, "export.topic.student")
    execute(stages, store, "mt/steps", RUNNERS, observer=Observer(), environment=Environment)
    return Run(planned, store)


def test_every_step_makes_the_planned_model(run, encoder):
    fetched = run.facts("teacher")
    assert (fetched["new_head"], fetched["dropped_rows"]) == (True, encoder.padded_rows)
    for step in run.planned.steps:
        facts = run.facts(step.id)
        assert facts["shape"] == step.shape.model_dump()
        assert facts["parameters"] == step.shape.parameters()
        assert 0 < facts["held_out"]["loss"] < 10
    student = AutoModelForMaskedLM.from_pretrained(run.student)
    assert sum(one.numel() for one in student.parameters()) == run.planned.steps[-1].shape.num_parameters
    assert run.facts("trim")["certificate"]["exact"]


def compare_outputs(model, output, graph, tokenizer, lines):
    """Return the greatest difference between a graph and its model, over batches of several lengths."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    worst = 0.0
    for texts, length in ((lines[:1], 5), (lines[:3], 30), (lines[2:4], 17)):
        batch = tokenizer(texts, return_tensors="np", padding=True, truncation=True, max_length=length)
        (got,) = session.run(None, {one.name: batch[one.name] for one in session.get_inputs()})
        with torch.no_grad():
            rows = {name: torch.from_numpy(batch[name]) for name in ("input_ids", "attention_mask")}
            expected = model(**rows)[output]
        if expected.dim() == 3:
            attended = rows["attention_mask"].bool()
            expected, got = expected[attended], got[attended]
        worst = max(worst, float((expected - torch.as_tensor(got)).abs().max()))
    return worst


def test_exported_student_computes_what_torch_computes(run, lines, tmp_path):
    tuned = run.folder("score.topic.distill-2") / "model"
    tokenizer = AutoTokenizer.from_pretrained(tuned)
    classifier = AutoModelForSequenceClassification.from_pretrained(tuned).eval()
    written = run.folder("export.topic.student") / "onnx"
    assert compare_outputs(classifier, "logits", written / "model.onnx", tokenizer, lines) < 1e-4
    assert (written / "model_int8.onnx").is_file()
    for task, stock, output in (
        ("mlm", AutoModelForMaskedLM, "logits"),
        ("encoder", AutoModel, "last_hidden_state"),
    ):
        source = load_source(run.student, task)
        path = tmp_path / f"{task}.onnx"
        write_graph(source.model, path, WAYS["legacy"], head=source.head, inputs=source.inputs, max_length=32)
        model = stock.from_pretrained(run.student).eval()
        assert compare_outputs(model, output, path, tokenizer, lines) < 1e-4


def test_score_is_of_the_tuned_student(run):
    facts = run.facts("score.topic.distill-2")
    assert facts["scores"]["n_test"] == 10
    config = json.loads((run.folder("score.topic.distill-2") / "model" / "config.json").read_text())
    assert config["id2label"] == {"0": "even", "1": "odd"}
