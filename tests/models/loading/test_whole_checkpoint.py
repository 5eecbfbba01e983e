"""Every tensor and every key of a checkpoint is honoured, known to change nothing, or refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from harness.errors import HarnessError
from harness.export.source import load_source
from harness.families import FAMILIES
from harness.models.loading.checkpoint import load_checkpoint, load_teacher
from harness.models.loading.encoder import load_encoder
from harness.models.loading.folder import open_model_folder
from harness.models.loading.settings import load_config

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
POSITIONS = {"max_position_embeddings": 40, "initializer_range": 0.5}
SMALL |= POSITIONS
DISTILBERT = POSITIONS | {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
ROBERTA = SMALL | {"type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}
MODERNBERT = SMALL | {"pad_token_id": 3, "local_attention": 4, "global_attn_every_n_layers": 2}
DEBERTA = SMALL | {
    "type_vocab_size": 0, "relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm",
    "share_att_key": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False,
}  # fmt: skip
CLASSES = {"id2label": {0: "sport", 1: "health", 2: "news"}}
CLASSIFIER, TAGGER = "ForSequenceClassification", "ForTokenClassification"
EXHAUSTIVE = os.environ.get("HARNESS_EXHAUSTIVE")


class Published(NamedTuple):
    """A model as it may lie on the hub."""

    family: str
    ending: str
    task: str
    config: dict


CONFIGURATIONS = {
    "BERT": Published("Bert", "ForPreTraining", "mlm", SMALL),
    "BERT, untied": Published("Bert", "ForMaskedLM", "mlm", SMALL | {"tie_word_embeddings": False}),
    "BERT, tanh GELU": Published("Bert", TAGGER, "pos", SMALL | CLASSES | {"hidden_act": "gelu_new"}),
    "BERT, pairs": Published("Bert", CLASSIFIER, "nli", SMALL | CLASSES | {"layer_norm_eps": 1e-3}),
    "XLM-R": Published("XLMRoberta", "ForMaskedLM", "mlm", ROBERTA),
    "XLM-R, untied": Published("XLMRoberta", "ForMaskedLM", "mlm", ROBERTA | {"tie_word_embeddings": False}),
    "RoBERTa": Published("Roberta", CLASSIFIER, "topic", ROBERTA | CLASSES),
    "CamemBERT": Published("Camembert", TAGGER, "pos", ROBERTA | CLASSES | {"hidden_act": "relu"}),
    "DistilBERT": Published("DistilBert", "ForMaskedLM", "mlm", DISTILBERT),
    "DistilBERT, topics": Published("DistilBert", CLASSIFIER, "topic", DISTILBERT | CLASSES),
    "Electra": Published("Electra", CLASSIFIER, "topic", SMALL | CLASSES | {"embedding_size": 8}),
    "Electra, generator": Published("Electra", "ForMaskedLM", "mlm", SMALL | {"embedding_size": 8}),
    "ModernBERT": Published("ModernBert", "ForMaskedLM", "mlm", MODERNBERT),
    "DeBERTa": Published("DebertaV2", "ForMaskedLM", "mlm", DEBERTA),
    "ModernBERT, mean": Published(
        "ModernBert", CLASSIFIER, "topic", MODERNBERT | CLASSES | {"classifier_pooling": "mean"}
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def published(wordpiece, tmp_path_factory):
    """Return a function that returns the folder of a published model; nobody changes it."""
    made: dict[str, Path] = {}

    def publish(name: str) -> Path:
        if name not in made:
            family, ending, _, values = CONFIGURATIONS[name]
            torch.manual_seed(3)
            config = getattr(transformers, f"{family}Config")(vocab_size=len(wordpiece), **values)
            made[name] = tmp_path_factory.mktemp("published")
            getattr(transformers, family + ending)(config).save_pretrained(made[name])
            wordpiece.save_pretrained(made[name])
        return made[name]

    return publish


def read_keys(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def change_keys(folder: Path, **changes) -> Path:
    (folder / "config.json").write_text(json.dumps(read_keys(folder) | changes))
    return folder


def load(folder: Path, task: str):
    return load_source(folder, task).model


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_logits_equal_those_of_the_plain_class_on_the_same_tensors(name, published, tmp_path):
    family, ending, task, _ = CONFIGURATIONS[name]
    folder = shutil.copytree(published(name), tmp_path / "model")
    config = getattr(transformers, f"{family}Config").from_pretrained(folder)
    ending = "ForMaskedLM" if task == "mlm" else ending
    plain = getattr(transformers, family + ending)(config).eval()
    tensors = load_file(folder / "model.safetensors")
    faults = plain.load_state_dict(tensors, strict=False)
    assert {*faults.missing_keys} <= {*plain.all_tied_weights_keys}
    plain.tie_weights()
    change_keys(
        folder, output_attentions=True, output_hidden_states=True, return_dict=False, torchscript=True,
        use_cache=True, torch_dtype="float16", chunk_size_feed_forward=5, attn_implementation="flash",
    )  # fmt: skip
    ids = torch.arange(5, 35).reshape(2, 15)
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    with torch.inference_mode():
        expected = plain(input_ids=ids, attention_mask=mask).logits
        models = [load(folder, task)]
        if task == "mlm":
            models += [load_checkpoint(folder).model, load_teacher(folder).checkpoint.model]
        for model in models:
            got = model(input_ids=ids, attention_mask=mask).logits
            kept = mask.bool() if got.ndim == 3 else slice(None)
            assert torch.equal(got[kept], expected[kept])
    assert float(expected.std()) > 0.05


def damage(folder: Path, action: str, tensor: str, new: str) -> set[str]:
    """Rename, add or drop a tensor of a copy; return the names of which the message must have one."""
    tensors = load_file(folder / "model.safetensors")
    if action == "add":
        tensors[new] = torch.randn(3, 4)
    else:
        value = tensors.pop(tensor)
        if action == "rename":
            tensors[new] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return {"add": {new}, "drop": {tensor}, "rename": {tensor, new}}[action]


def invent_name(tensor: str, choice: int, word: str) -> str:
    """Return a name that no class has: another part, layer or ending."""
    part, _, ending = tensor.rpartition(".")
    first, _, rest = tensor.partition(".")
    return (
        f"{part}.{word}.{ending}",
        f"{part}.{word}_{ending}",
        f"{first}.{word}.{rest}",
        f"{word}.{tensor}",
        tensor.replace(".0.", ".7.").replace(".1.", ".8.")
        if ".0." in tensor or ".1." in tensor
        else f"{word}.{ending}",
    )[choice]


def check_refused_by_name(folder: Path, task: str, action: str, tensor: str, new: str) -> None:
    names = damage(folder, action, tensor, new)
    with pytest.raises(HarnessError) as caught:
        load(folder, task)
    line = str(caught.value)
    assert "\n" not in line
    assert any(name.split(".", 1)[-1] in line for name in names), (action, names, line)


@given(data=st.data())
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_tensor_that_is_renamed_added_or_dropped_is_refused_by_its_name(data, published, tmp_path):
    name = data.draw(st.sampled_from(sorted(CONFIGURATIONS)))
    source = published(name)
    tensor = data.draw(st.sampled_from(sorted(load_file(source / "model.safetensors"))))
    action = data.draw(st.sampled_from(["rename", "add", "drop"]))
    word = data.draw(st.text("abcdefghijklmnopqrstuvwxyz", min_size=6, max_size=12))
    new = invent_name(tensor, data.draw(st.integers(0, 4)), f"x{word}")
    folder = tmp_path / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    check_refused_by_name(folder, CONFIGURATIONS[name].task, action, tensor, new)


@pytest.mark.skipif(not EXHAUSTIVE, reason="takes minutes; HARNESS_EXHAUSTIVE=1 runs it")
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_tensor_renamed_added_or_dropped_is_refused_by_its_name(name, published, tmp_path):
    source = published(name)
    for tensor in load_file(source / "model.safetensors"):
        for action, choices in (("drop", [0]), ("rename", range(5)), ("add", range(5))):
            for choice in choices:
                folder = tmp_path / "damaged"
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(source, folder)
                new = invent_name(tensor, choice, "xtra")
                check_refused_by_name(folder, CONFIGURATIONS[name].task, action, tensor, new)


@pytest.fixture
def bert(published, tmp_path) -> Path:
    return shutil.copytree(published("BERT"), tmp_path / "model")


def refusal(folder: Path, loader=load_checkpoint) -> str:
    with pytest.raises(HarnessError) as caught:
        loader(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change_tensors(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_distance_tables_of_relative_positions_are_refused(bert):
    change_keys(bert, position_embedding_type="relative_key_query")
    expected = (
        "expected settings that BertConfig computes with in config.json; got 'position_embedding_type': "
    )
    assert expected + "'relative_key_query'" in refusal(bert)
    change_keys(bert, position_embedding_type="absolute")
    load_checkpoint(bert)
    name = "bert.encoder.layer.0.attention.self.distance_embedding.weight"
    change_tensors(bert, lambda tensors: tensors.update({name: torch.randn(79, 8)}))
    assert f"got '{name}', which nothing reads".replace("bert.enc", "enc") in refusal(bert)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("is_encoder_decoder", True),
        ("pruned_heads", {"0": [1]}),
        ("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True}),
        ("attention_type", "block_sparse"),
        ("relative_attention", True),
        ("rotary_base", 10000),
        ("use_alibi", True),
        ("norm_first", True),
        ("cross_attention", True),
        ("num_experts", 4),
        ("adapters", {"adapters": {"task": "pfeiffer"}}),
        ("per_layer_config", {"0": {"intermediate_size": 8}}),
        ("num_hidden_layers", 1),
        ("num_hidden_layers", 3),
        ("num_hidden_layers", 10**9),
        ("num_attention_heads", 3),
        ("num_attention_heads", 0),
        ("hidden_size", "16"),
        ("hidden_size", -16),
        ("vocab_size", 10**15),
        ("hidden_act", "gelu_fast_new"),
        ("layer_norm_eps", float("nan")),
        ("layer_norm_eps", None),
        ("initializer_range", -1.0),
        ("hidden_dropout_prob", 2.0),
        ("hidden_dropout_prob", None),
        ("max_position_embeddings", 41),
        ("max_position_embeddings", 2),
        ("pad_token_id", 10**6),
        ("pad_token_id", -1),
        ("type_vocab_size", 3),
        ("tie_word_embeddings", "yes"),
        ("hiden_act", "relu"),
    ],
)
def test_key_that_changes_what_is_computed_is_refused_by_its_name(key, value, bert):
    if key == "hiden_act":
        (bert / "config.json").write_text(
            json.dumps({k: v for k, v in read_keys(bert).items() if k != "hidden_act"})
        )
    named = {
        "num_hidden_layers": "layer",
        "max_position_embeddings": "position",
        "type_vocab_size": "token_type",
    }
    named |= {"num_attention_heads": "attention heads"} if value == 3 else {}
    for loader in (load_checkpoint, load_teacher, lambda folder: load_encoder(open_model_folder(folder))):
        assert named.get(key, key) in refusal(change_keys(bert, **{key: value}), loader)


@pytest.mark.parametrize(
    "inert",
    [
        {
            "directionality": "bidi",
            "pooler_num_attention_heads": 12,
            "pooler_size_per_head": 128,
            "pooler_type": "x",
        },
        {"gradient_checkpointing": True, "use_cache": True, "classifier_dropout": None, "output_past": True},
        {
            "is_decoder": False,
            "pruned_heads": {},
            "position_embedding_type": "absolute",
            "quantization_config": None,
        },
        {
            "adapters": {"adapters": {}, "fusions": {}},
            "cross_attention_hidden_size": None,
            "finetuning_task": "ner",
        },
        {"id2label": ["a"], "label2id": 5, "num_labels": "x", "problem_type": "regressive"},
        {
            "to_dict": 5,
            "attribute_map": {"hidden_size": "vocab_size"},
            "architectures": None,
            "unheard_of": {"a": [1]},
        },
    ],
)
def test_key_that_changes_nothing_is_accepted(inert, bert):
    expected = load_checkpoint(bert).model.state_dict()
    got = load_checkpoint(change_keys(bert, **inert)).model.state_dict()
    assert all(torch.equal(got[name], value) for name, value in expected.items())


@pytest.mark.parametrize("name", ["BERT", "XLM-R", "DistilBERT", "Electra", "ModernBERT"])
def test_size_that_is_absent_or_mistyped_is_named(name, published, tmp_path):
    folder = shutil.copytree(published(name), tmp_path / "model")
    whole = read_keys(folder)
    for key in (key for key in whole if key.startswith(("num_att", "n_", "hidden_si", "dim", "vocab_s"))):
        rest = {one: value for one, value in whole.items() if one != key}
        (folder / "config.json").write_text(json.dumps(rest))
        assert f"expected '{key}' in config.json; got none; add {key}" in refusal(folder)
        (folder / "config.json").write_text(json.dumps(rest | {f"{key}s": whole[key]}))
        assert f"expected '{key}' in config.json; got none, but '{key}s'; add {key}" in refusal(folder)


def test_tensor_of_another_shape_is_named_with_both_shapes(bert):
    change_keys(bert, intermediate_size=25)
    line = refusal(bert)
    assert "got 'bert.encoder.layer.0.intermediate.dense.weight' of shape [24, 16], not [25, 16]" in line or (
        "got 'bert.encoder.layer.0.intermediate.dense.bias' of shape [24], not [25]" in line
    )


def test_tensors_that_are_no_floats_or_double_are_refused(bert):
    name = "bert.encoder.layer.1.output.dense.weight"
    change_tensors(bert, lambda tensors: tensors.update({name: tensors[name].to(torch.int8)}))
    assert f"expected floating-point weights; got '{name}' as I8" in refusal(bert)
    change_tensors(bert, lambda tensors: tensors.update({name: tensors[name].float()}))
    bare = "bert.embeddings.LayerNorm.weight"
    old = "bert.embeddings.LayerNorm.gamma"
    change_tensors(bert, lambda tensors: tensors.update({old: tensors[bare] * 2}))
    assert f"expected one tensor for '{bare}'; got" in refusal(bert)


def test_position_ids_are_accepted_in_order_alone(bert):
    ids = torch.arange(40)[None]
    change_tensors(bert, lambda tensors: tensors.update({"bert.embeddings.position_ids": ids}))
    load_checkpoint(bert)
    change_tensors(
        bert, lambda tensors: tensors.update({"bert.embeddings.position_ids": ids.flip(1).contiguous()})
    )
    assert "expected position ids 0, 1, 2 …; got others in 'bert.embeddings.position_ids'" in refusal(bert)


def test_index_with_one_tensor_in_two_files_is_refused(bert):
    tensors = load_file(bert / "model.safetensors")
    (bert / "model.safetensors").unlink()
    save_file(tensors, bert / "a.safetensors", metadata={"format": "pt"})
    save_file(
        {"cls.predictions.bias": tensors["cls.predictions.bias"] + 1},
        bert / "b.safetensors",
        metadata={"format": "pt"},
    )
    where = dict.fromkeys(tensors, "a.safetensors") | {"cls.predictions.bias": "b.safetensors"}
    (bert / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    assert "expected 'cls.predictions.bias' in one file; got a second in b.safetensors" in refusal(bert)


def test_heads_that_no_class_has_any_more_are_left_out_whole(published, tmp_path):
    folder = shutil.copytree(published("DeBERTa"), tmp_path / "model")
    names = [name for head in FAMILIES["deberta-v2"].other_heads for name in head]
    change_tensors(folder, lambda tensors: tensors.update({name: torch.ones(2) for name in names}))
    expected = load_checkpoint(published("DeBERTa")).model.state_dict()
    assert all(
        torch.equal(expected[name], one) for name, one in load_checkpoint(folder).model.state_dict().items()
    )
    load_encoder(open_model_folder(folder))
    change_tensors(folder, lambda tensors: tensors.pop("mask_predictions.classifier.bias"))
    line = refusal(folder, lambda path: load_encoder(open_model_folder(path)))
    assert "got none for 'mask_predictions.classifier.bias'; fetch or save it again" in line


def test_key_with_two_values_and_adapters_are_refused(bert):
    text = (bert / "config.json").read_text()
    (bert / "config.json").write_text(text.replace("{", '{"hidden_size": 32,', 1))
    assert "two values for the key 'hidden_size'" in refusal(bert)
    (bert / "config.json").write_text(text)
    (bert / "adapter_config.json").write_text("{}")
    assert "expected a whole model; got an adapter (adapter_config.json)" in refusal(bert)


def test_encoder_without_a_layer_is_never_scored_with_a_random_one(bert):
    change_tensors(bert, lambda tensors: [tensors.pop(name) for name in [*tensors] if ".layer.1." in name])
    folder = open_model_folder(bert)
    with pytest.raises(
        HarnessError, match=r"expected every weight of BertModel; got none for 'encoder\.layer\.1"
    ):
        load_encoder(folder)
    assert load_config(folder).num_hidden_layers == 2
