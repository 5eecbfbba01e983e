from __future__ import annotations

import json
import logging
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
import torch

from harness.errors import HarnessError, UsageError
from harness.export import graphs
from harness.export.onnx import Exported, export, inputs_of
from harness.measure.onnx_evaluation import Judge
from harness.tasks import HEADS, TASKS

ENDINGS = {task: head.suffix for task, head in HEADS.items()}


@pytest.fixture
def run(tiny, judge_of):
    def export_tiny(folder: Path, family="bert", task="pos", **settings) -> Exported:
        model, tokenizer = tiny(family, ENDINGS[task])
        return export(model, tokenizer, folder, task=task, judge=judge_of(model, tokenizer), **settings)

    return export_tiny


@pytest.mark.parametrize("task", TASKS)
def test_every_task_that_is_scored_can_be_exported_and_described(task):
    token = TASKS[task].kind == "token"
    assert HEADS[task].suffix == f"For{'Token' if token else 'Sequence'}Classification"
    assert HEADS[task].pipeline == f"{'token' if token else 'text'}-classification"


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("task", ["pos", "topic", "mlm", "encoder"])
def test_every_head_of_every_family_says_what_torch_says(run, axes_of, tmp_path: Path, family, task):
    done = run(tmp_path, family, task, candidates=("legacy",))
    assert done.max_abs_delta <= 1e-4
    assert done.argmax_agreement == 1
    assert done.reason == "'legacy' was the only graph that was asked for"
    axes = axes_of(done.path)
    assert axes.pop(done.output)[:-1] == list(HEADS[task].axes)
    assert axes == {name: ["batch", "sequence"] for name in done.inputs}
    assert ("token_type_ids" in done.inputs) == (family == "bert")


def test_all_graphs_are_sound_timed_and_one_is_kept_with_its_reason(both):
    done, _ = both
    assert [one.name for one in done.candidates] == ["legacy", "dynamo"]
    for one in done.candidates:
        assert one.refusal is None
        assert one.max_abs_delta is not None
        assert one.max_abs_delta <= 1e-4
        assert one.p50_ms is not None
        assert one.p50_ms > 0
    assert done.graph in done.reason
    assert json.loads(json.dumps(done.record()))["path"] == "model.onnx"


def test_the_folder_holds_the_model_and_nothing_else_is_left(both):
    done, _ = both
    names = {path.name for path in done.path.parent.iterdir()}
    assert names == {"model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json"}
    assert json.loads((done.path.parent / "config.json").read_text())["id2label"]["1"] == "VERB"


@pytest.mark.parametrize("name", ["legacy", "legacy-sdpa", "dynamo"])
def test_exporters_are_silent_and_graphs_are_standard(run, tmp_path, capfd, caplog, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = run(tmp_path, candidates=(name,))
    assert "".join(capfd.readouterr()) == ""
    assert [one.getMessage() for one in caplog.records if one.levelno > logging.DEBUG] == []
    model = onnx.load(done.path)
    onnx.checker.check_model(model)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert {one.domain: one.version for one in model.opset_import}[""] == graphs.WAYS[name].opset >= 17
    assert all(one.type.tensor_type.elem_type == onnx.TensorProto.INT64 for one in model.graph.input)
    assert str(Path(torch.__file__).parent).encode() not in done.path.read_bytes()
    assert b".py" not in done.path.read_bytes()


RUN_ALONE = """
import sys
for name in ("torch", "transformers", "harness"):
    sys.modules[name] = None
import json, pathlib, numpy, onnxruntime, tokenizers
folder = pathlib.Path(sys.argv[1])
tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
encoding = tokenizer.encode("word1 word2 word3")
mask = encoding.attention_mask
every = {"input_ids": encoding.ids, "attention_mask": mask, "token_type_ids": encoding.type_ids}
feed = {one.name: numpy.asarray([every[one.name]], dtype=numpy.int64) for one in session.get_inputs()}
logits = session.run(["logits"], feed)[0]
labels = json.loads((folder / "config.json").read_text())["id2label"]
print(json.dumps([labels[str(best)] for best in logits[0].argmax(-1)]))
"""


def test_the_folder_runs_on_onnxruntime_and_tokenizers_alone(run, tiny, tmp_path: Path):
    done = run(tmp_path, candidates=("legacy",))
    told = subprocess.run(
        [sys.executable, "-c", RUN_ALONE, str(done.path.parent)], capture_output=True, text=True, check=True
    )
    model, tokenizer = tiny("bert", ENDINGS["pos"])
    with torch.inference_mode():
        best = model(**tokenizer("word1 word2 word3", return_tensors="pt")).logits[0].argmax(-1)
    assert json.loads(told.stdout) == [model.config.id2label[int(one)] for one in best]


def test_the_model_is_left_as_it_was(judge_of, tiny, tmp_path: Path):
    model, tokenizer = tiny("bert", ENDINGS["pos"])
    model.train()
    before = model.config._attn_implementation
    export(model, tokenizer, tmp_path, task="pos", judge=judge_of(model, tokenizer), candidates=("legacy",))
    assert model.training
    assert model.config._attn_implementation == before


@dataclass
class Stubborn:
    """Judges like the judge it holds, but finds the candidates named to differ by 1."""

    judge: Judge
    against: tuple[str, ...]

    def parity(self, path: Path):
        found = self.judge.parity(path)
        wrong = path.stem.removeprefix(".candidate-") in self.against
        return type(found)(1.0 if wrong else found.max_abs_delta, found.argmax_agreement, found.num_positions)

    def fastest(self, paths):
        return self.judge.fastest(paths)


def test_a_graph_that_differs_is_refused_and_the_other_taken(judge_of, tiny, tmp_path: Path):
    model, tokenizer = tiny("bert", ENDINGS["pos"])
    judge = Stubborn(judge_of(model, tokenizer), ("legacy",))
    done = export(model, tokenizer, tmp_path, task="pos", judge=judge, candidates=("legacy", "legacy-sdpa"))
    assert (done.graph, done.attention) == ("legacy", "sdpa")
    assert done.candidates[0].refusal == "a logit differs from torch by 1.00e+00, more than 1e-04"
    assert done.reason == "'legacy-sdpa' was the only graph that could be taken"


def test_a_graph_that_cannot_be_written_is_refused_and_the_other_taken(run, tmp_path: Path, monkeypatch):
    write = graphs.write_graph

    def fail(model, path, way, **rest):
        if way.attention == "eager":
            raise RuntimeError("no symbolic for this\nand a long trace")
        write(model, path, way, **rest)

    monkeypatch.setattr("harness.export.onnx.write_graph", fail)
    done = run(tmp_path, candidates=("legacy", "legacy-sdpa"))
    assert done.attention == "sdpa"
    assert done.candidates[0].refusal == "RuntimeError: no symbolic for this"


def test_no_sound_graph_tells_each_reason_and_leaves_no_file(judge_of, tiny, tmp_path: Path):
    model, tokenizer = tiny("bert", ENDINGS["pos"])
    judge = Stubborn(judge_of(model, tokenizer), ("legacy", "legacy-sdpa"))
    with pytest.raises(
        HarnessError, match=r"wanted one graph that equals the model; got none \(legacy: a logit"
    ):
        export(model, tokenizer, tmp_path, task="pos", judge=judge, candidates=("legacy", "legacy-sdpa"))
    assert list(tmp_path.iterdir()) == []


def test_operators_that_are_not_standard_are_refused(tmp_path: Path):
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("FusedGelu", ["x"], ["logits"], domain="com.example")
    graph = onnx.helper.make_graph([node], "g", [value("x", 7, [1, 1])], [value("logits", 1, [1, 1, 2])])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")
    with pytest.raises(HarnessError, match=r"wanted standard operators only; got com\.example"):
        graphs._tidy(tmp_path / "model.onnx", HEADS["pos"])


@pytest.mark.parametrize(
    "case",
    [
        (
            "ForMaskedLM",
            {},
            "wanted a …ForTokenClassification model for the task 'pos'; got BertForMaskedLM",
        ),
        (
            "ForTokenClassification",
            {"id2label": {0: "LABEL_0", 1: "LABEL_1"}},
            "wanted the names of the classes",
        ),
    ],
)
def test_a_model_that_does_not_fit_the_task_is_refused(judge_of, tiny, tmp_path: Path, case):
    ending, changes, message = case
    model, tokenizer = tiny("bert", ending, **changes)
    with pytest.raises(HarnessError, match=message):
        export(model, tokenizer, tmp_path, task="pos", judge=judge_of(model, tokenizer))


def test_other_precisions_unknown_tasks_and_unknown_graphs_are_refused(judge_of, tiny, tmp_path: Path):
    model, tokenizer = tiny("bert", ENDINGS["pos"])
    judge = judge_of(model, tokenizer)
    with pytest.raises(UsageError, match=f"unknown task 'tags'; there are: {', '.join(HEADS)}"):
        export(model, tokenizer, tmp_path, task="tags", judge=judge)
    with pytest.raises(UsageError, match="unknown graph 'fx'; there are: legacy"):
        export(model, tokenizer, tmp_path, task="pos", judge=judge, candidates=("fx",))
    tokenizer.model_input_names = ["pixel_values"]
    with pytest.raises(HarnessError, match="wanted a model and a tokenizer that share 'input_ids'"):
        export(model, tokenizer, tmp_path, task="pos", judge=judge)
    with pytest.raises(HarnessError, match=r"wanted float32 weights; got bfloat16; call model\.float\(\)"):
        export(model.bfloat16(), tokenizer, tmp_path, task="pos", judge=judge)


@pytest.mark.parametrize("types", [0, 1, 2])
def test_token_types_are_an_input_where_the_model_tells_one_from_another(types, tiny):
    model, tokenizer = tiny("bert", "ForTokenClassification", type_vocab_size=max(types, 1))
    model.config.type_vocab_size = types
    assert ("token_type_ids" in inputs_of(model, tokenizer)) == (types == 2)
