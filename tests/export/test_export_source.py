"""Read any encoder with the head of a task; refuse what cannot be exported."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import onnx
import pytest
import torch
import transformers

import harness
from harness.errors import HarnessError, UsageError
from harness.export import predict
from harness.export.graphs import WAYS, write_graph
from harness.export.source import ExportSource, load_source, prepare_source
from harness.families import max_input_tokens
from harness.measure.onnx_evaluation import open_session
from harness.measure.parity import compare_logits, probe_batches
from harness.tasks import HEADS

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
LABELS = {0: "NOUN", 1: "VERB", 2: "ADJ"}
FAMILIES = {
    "Bert": (transformers.BertConfig, SIZES),
    "XLMRoberta": (transformers.XLMRobertaConfig, SIZES),
    "DistilBert": (transformers.DistilBertConfig, {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48}),
    "ModernBert": (
        transformers.ModernBertConfig,
        {**SIZES, "num_hidden_layers": 4, "local_attention": 8, "bos_token_id": 2, "eos_token_id": 3},
    ),
    "Electra": (transformers.ElectraConfig, {**SIZES, "embedding_size": 24}),
}


def save(folder: Path, family: str, task: str, tokenizer, **changes) -> Path:
    """Saves a tiny model with its tokenizer, its weights large enough to make logits differ."""
    kind, sizes = FAMILIES[family]
    settings = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 66,
        "pad_token_id": tokenizer.pad_token_id,
        "id2label": LABELS,
        "label2id": {name: number for number, name in LABELS.items()},
    }
    torch.manual_seed(0)
    model = getattr(transformers, family + HEADS[task].suffix)(kind(**{**settings, **sizes, **changes}))
    for parameter in model.parameters():
        parameter.data.mul_(3 if parameter.ndim > 1 else 1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def saved(tiny, tmp_path: Path):
    def make(family: str, task: str, **changes) -> Path:
        _, tokenizer = tiny("xlm-roberta" if family == "XLMRoberta" else "bert", "ForMaskedLM")
        return save(tmp_path / "model", family, task, tokenizer, **changes)

    return make


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", ["pos", "topic", "mlm", "encoder"])
def test_every_family_with_every_head_equals_torch(saved, tmp_path: Path, family, task):
    source = load_source(saved(family, task), task)
    batches = make_batches(source)
    parity = compare_logits(source.model, open_session(write(source, tmp_path, "legacy-sdpa")), batches)
    assert parity.max_abs_delta <= 1e-4
    assert parity.argmax_agreement == 1
    assert ("token_type_ids" in source.inputs) == (family in {"Bert", "Electra"})
    assert {batch["input_ids"].shape[1] % 2 for batch in batches} == {0, 1}
    assert any((batch["attention_mask"] == 0).any() for batch in batches)


def make_batches(source: ExportSource):
    config = source.model.config
    return probe_batches(
        source.inputs,
        vocabulary=config.vocab_size,
        pad_id=config.pad_token_id,
        max_length=source.max_tokens,
        types=source.token_types,
    )


def write(source: ExportSource, folder: Path, way: str) -> Path:
    path = folder / "model.onnx"
    write_graph(
        source.model, path, WAYS[way],
        head=source.head, inputs=source.inputs, max_length=source.max_tokens,
    )  # fmt: skip
    return path


def test_a_masked_language_model_stores_its_tied_embeddings_once(saved, tmp_path: Path):
    source = load_source(saved("Bert", "mlm"), "mlm")
    graph = onnx.load(write(source, tmp_path, "legacy")).graph
    rows = source.model.config.vocab_size
    assert len([one for one in graph.initializer if rows in one.dims and len(one.dims) == 2]) == 1


def test_an_encoder_is_read_from_a_masked_language_model(saved):
    model = load_source(saved("Bert", "mlm"), "encoder").model
    assert type(model).__name__ == "BertModel"
    assert model.pooler is None


@pytest.mark.parametrize(
    ("ending", "changes", "message"),
    [
        (
            "ForMaskedLM",
            {},
            "expected a …ForTokenClassification model for the task 'pos'; got BertForMaskedLM",
        ),
        (
            "ForTokenClassification",
            {"id2label": {0: "LABEL_0", 1: "LABEL_1"}},
            "expected the names of the classes",
        ),
    ],
)
def test_a_model_that_does_not_fit_the_task_is_refused(tiny, ending, changes, message):
    model, tokenizer = tiny("bert", ending, **changes)
    with pytest.raises(HarnessError, match=message):
        prepare_source("pos", model, tokenizer)


def test_other_precisions_unknown_tasks_and_other_tokenizers_are_refused(tiny):
    model, tokenizer = tiny("bert", HEADS["pos"].suffix)
    with pytest.raises(UsageError, match=f"unknown task 'tags'; there are: {', '.join(HEADS)}"):
        prepare_source("tags", model, tokenizer)
    tokenizer.model_input_names = ["pixel_values"]
    with pytest.raises(HarnessError, match="expected a model and a tokenizer that share 'input_ids'"):
        _ = prepare_source("pos", model, tokenizer).inputs
    with pytest.raises(HarnessError, match=r"expected float32 weights; got bfloat16; call model\.float\(\)"):
        prepare_source("pos", model.bfloat16(), tokenizer)


@pytest.mark.parametrize("types", [0, 1, 2])
def test_token_types_are_an_input_where_the_model_has_several(types, tiny):
    model, tokenizer = tiny("bert", HEADS["pos"].suffix, type_vocab_size=max(types, 1))
    model.config.type_vocab_size = types
    assert ("token_type_ids" in prepare_source("pos", model, tokenizer).inputs) == (types == 2)


def refusal(folder: Path, task: str = "pos") -> str:
    with pytest.raises(HarnessError) as caught:
        load_source(folder, task)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folders_that_hold_no_model_are_refused(tmp_path: Path, saved):
    assert "expected the folder of a saved model; got nothing there" in refusal(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    assert "got a file; name the folder" in refusal(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "expected config.json; got a folder without it" in refusal(tmp_path / "empty")
    folder = saved("Bert", "pos")
    (folder / "config.json").write_bytes(b'{"model_type": \xff')
    assert "expected JSON in config.json" in refusal(folder)
    (folder / "config.json").write_text("[]")
    assert "expected an object in config.json; got list" in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "t5"},
            "expected an architecture of bert, xlm-roberta, roberta, camembert, distilbert",
        ),
        ({"auto_map": {"AutoModel": "x.Y"}}, "got custom code (auto_map), which is never run"),
        (
            {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}},
            "expected the names of the classes in the model's config",
        ),
        ({"hidden_size": 64}, "expected weights that fit config.json"),
    ],
)
def test_unfit_configs_are_refused(saved, changes, message):
    folder = saved("Bert", "pos", id2label={0: "A", 1: "B"}, label2id={"A": 0, "B": 1})
    settings = json.loads((folder / "config.json").read_text())
    settings.pop("label2id")
    (folder / "config.json").write_text(json.dumps(settings | changes))
    assert message in refusal(folder)


def test_a_head_or_weights_or_a_tokenizer_that_are_missing_are_refused(saved):
    folder = saved("DistilBert", "mlm")
    assert "expected weights of a …ForTokenClassification model for the task 'pos'; got none for" in refusal(
        folder
    )
    assert "fine-tune it on 'topic'" in refusal(folder, "topic")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:50])
    assert "expected whole weights in model.safetensors" in refusal(folder, "mlm")
    shutil.move(weights, folder / "pytorch_model.bin")
    assert "got only pickled weights (pytorch_model.bin), which are never read" in refusal(folder, "mlm")
    weights.write_bytes(whole)
    (folder / "tokenizer.json").write_text("{")
    assert "expected a tokenizer that loads" in refusal(folder, "mlm")
    (folder / "tokenizer.json").unlink()
    assert "expected a tokenizer (tokenizer.json, vocab.txt" in refusal(folder, "mlm")


def test_an_unknown_task_lists_the_tasks(tmp_path: Path):
    with pytest.raises(UsageError, match=f"unknown task 'tags'; there are: {', '.join(HEADS)}"):
        load_source(tmp_path, "tags")


@pytest.mark.parametrize("family", ["Bert", "Roberta", "XLMRoberta", "Camembert", "Electra"])
def test_all_agree_how_many_tokens_a_model_takes(family, tmp_path: Path):
    kind = getattr(transformers, f"{family}Config")
    settings = kind(
        **SIZES, vocab_size=9, max_position_embeddings=12, pad_token_id=1, bos_token_id=0, eos_token_id=2
    )
    model = getattr(transformers, f"{family}Model")(settings).eval()
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    with torch.inference_mode():
        longest = max(length for length in (10, 12) if _takes(model, length))
    assert max_input_tokens(model.config.to_dict()) == longest
    assert max_input_tokens(config) == longest
    assert predict.max_input_tokens(config) == longest
    if node := shutil.which("node"):
        page = (Path(harness.__file__).parent / "web" / "page" / "model.js").as_uri()
        made = f"new Model(0, 0, 0, {json.dumps(config)})"
        code = f"import {{ Model }} from '{page}'; console.log({made}.maxTokens)"
        output = subprocess.run([node, "--input-type=module", "-e", code], capture_output=True, check=True)
        assert int(output.stdout) == longest


def _takes(model, length: int) -> bool:
    try:
        model(input_ids=torch.full((1, length), 5))
    except (IndexError, RuntimeError):
        return False
    return True
