from __future__ import annotations

import json
import logging
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch

from harness.deploy.fp32_file import ExportedModel, write_fp32
from harness.errors import HarnessError, UsageError
from harness.export import graphs
from harness.export.source import ExportSource, prepare_source
from harness.tasks import HEADS


@pytest.fixture
def tagger(tiny) -> ExportSource:
    """A tiny BERT with a head for tags."""
    return prepare_source("pos", *tiny("bert", HEADS["pos"].suffix))


@pytest.fixture
def write_tiny(tiny, make_checker):
    """Return a function that exports a tiny model."""

    def write(folder: Path, family="bert", task="pos", **settings) -> ExportedModel:
        source = prepare_source(task, *tiny(family, HEADS[task].suffix))
        return write_fp32(source, folder, make_checker(source), **settings)

    return write


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("task", ["pos", "topic", "mlm", "encoder"])
def test_every_head_of_both_families_equals_torch(write_tiny, read_axes, tmp_path: Path, family, task):
    done = write_tiny(tmp_path, family, task, candidates=("legacy",))
    assert done.max_abs_delta <= 1e-4
    assert done.argmax_agreement == 1
    assert done.reason == "'legacy' was the only graph that was asked for"
    axes = read_axes(done.path)
    assert axes.pop(done.output)[:-1] == list(HEADS[task].axes)
    assert axes == {name: ["batch", "sequence"] for name in done.inputs}
    assert ("token_type_ids" in done.inputs) == (family == "bert")


def test_all_graphs_are_compared_and_timed_and_one_is_kept(write_tiny, tmp_path: Path):
    done = write_tiny(tmp_path, "xlm-roberta", "topic", candidates=("legacy", "dynamo"))
    assert [one.name for one in done.candidates] == ["legacy", "dynamo"]
    for one in done.candidates:
        assert one.refusal is None
        assert one.max_abs_delta is not None
        assert one.max_abs_delta <= 1e-4
        assert one.p50_ms is not None
        assert one.p50_ms > 0
    assert done.graph in done.reason
    assert json.loads(json.dumps(done.record()))["path"] == "model.onnx"
    names = {path.name for path in done.path.parent.iterdir()}
    assert names == {"model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json"}
    assert json.loads((done.path.parent / "config.json").read_text())["id2label"]["1"] == "VERB"


@pytest.mark.parametrize("name", ["legacy", "legacy-sdpa", "dynamo"])
def test_exporters_are_silent_and_graphs_are_standard(write_tiny, tmp_path, capfd, caplog, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = write_tiny(tmp_path, candidates=(name,))
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


def test_the_folder_runs_on_onnxruntime_and_tokenizers_alone(tagger, make_checker, tmp_path: Path):
    done = write_fp32(tagger, tmp_path, make_checker(tagger), candidates=("legacy",))
    output = subprocess.run(
        [sys.executable, "-c", RUN_ALONE, str(done.path.parent)], capture_output=True, text=True, check=True
    ).stdout
    with torch.inference_mode():
        logits = tagger.model(**tagger.tokenizer("word1 word2 word3", return_tensors="pt")).logits[0]
    assert json.loads(output) == [tagger.model.config.id2label[int(one)] for one in logits.argmax(-1)]


def test_the_model_is_left_as_it_was(tagger, make_checker, tmp_path: Path):
    tagger.model.train()
    before = tagger.model.config._attn_implementation
    write_fp32(tagger, tmp_path, make_checker(tagger), candidates=("legacy",))
    assert tagger.model.training
    assert tagger.model.config._attn_implementation == before


def spoil(checker, *names: str):
    """Make a checker find that the candidates of these names differ by 1."""
    measure = checker.measure_parity

    def measure_parity(path: Path):
        parity = measure(path)
        wrong = path.stem.removeprefix(".candidate-") in names
        return replace(parity, max_abs_delta=1.0) if wrong else parity

    checker.measure_parity = measure_parity
    return checker


def test_a_graph_that_differs_is_refused_and_another_kept(tagger, make_checker, tmp_path: Path):
    checker = spoil(make_checker(tagger), "legacy")
    done = write_fp32(tagger, tmp_path, checker, candidates=("legacy", "legacy-sdpa"))
    assert (done.graph, done.attention) == ("legacy", "sdpa")
    assert done.candidates[0].refusal == "a logit differs from torch by 1.00e+00, more than 1e-04"
    assert done.reason == "'legacy-sdpa' was the only graph that could be taken"


def test_a_graph_that_cannot_be_written_is_refused_and_another_kept(write_tiny, tmp_path, monkeypatch):
    write = graphs.write_graph

    def fail(model, path, way, **rest):
        if way.attention == "eager":
            raise RuntimeError("no symbolic for this\nand a long trace")
        write(model, path, way, **rest)

    monkeypatch.setattr("harness.deploy.fp32_file.write_graph", fail)
    done = write_tiny(tmp_path, candidates=("legacy", "legacy-sdpa"))
    assert done.attention == "sdpa"
    assert done.candidates[0].refusal == "RuntimeError: no symbolic for this"


def test_no_sound_graph_states_each_reason_and_leaves_no_file(tagger, make_checker, tmp_path: Path):
    checker = spoil(make_checker(tagger), "legacy", "legacy-sdpa")
    with pytest.raises(
        HarnessError, match=r"expected one graph that equals the model; got none \(legacy: a logit"
    ):
        write_fp32(tagger, tmp_path, checker, candidates=("legacy", "legacy-sdpa"))
    assert list(tmp_path.iterdir()) == []


def test_an_optimised_graph_is_a_candidate_like_any(tagger, make_checker, tmp_path: Path):
    done = write_fp32(tagger, tmp_path, make_checker(tagger), candidates=("legacy", "legacy-optimized"))
    assert [one.refusal for one in done.candidates] == [None, None]
    assert done.optimized == (done.reason.endswith("'legacy-optimized' is faster"))
    assert all(one.p50_ms for one in done.candidates)


def test_an_unknown_graph_lists_the_graphs(tagger, make_checker, tmp_path: Path):
    with pytest.raises(UsageError, match="unknown graph 'fx'; there are: legacy"):
        write_fp32(tagger, tmp_path, make_checker(tagger), candidates=("fx",))
