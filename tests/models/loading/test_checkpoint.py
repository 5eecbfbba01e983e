"""Checkpoints: built, saved and loaded from a folder or the hub's cache."""

from __future__ import annotations

import errno
import json
import shutil

import huggingface_hub.constants
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertForPreTraining, BertModel

from harness.errors import HarnessError
from harness.models.families.table import find_layout, is_tied
from harness.models.loading.checkpoint import assemble_model, build_model, load_checkpoint, save_checkpoint

REVISION = "0123456789abcdef0123456789abcdef01234567"


def same(one, two) -> bool:
    left, right = one.state_dict(), two.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_build_model_is_seeded_and_has_its_shape(encoder):
    state = torch.get_rng_state()
    one, two, other = (build_model(encoder.shape, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert same(one, two)
    assert not same(one, other)
    assert is_tied(one) == encoder.shape.tied
    assert sum(parameter.numel() for parameter in one.parameters()) == encoder.shape.num_parameters
    assert (one.config.pad_token_id, one.config.layer_norm_eps) == {
        "bert": (0, 1e-12),
        "xlm-roberta": (1, 1e-5),
    }[encoder.shape.family]


def test_saved_checkpoint_loads_unchanged(encoder, folder, lines):
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    model, tokenizer = load_checkpoint(folder)
    assert same(model, encoder.model)
    assert is_tied(model) == encoder.shape.tied
    assert not model.training
    assert [tokenizer(line).input_ids for line in lines] == [
        encoder.tokenizer(line).input_ids for line in lines
    ]
    assert same(AutoModelForMaskedLM.from_pretrained(folder), encoder.model)
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == tokenizer.get_vocab()


def test_truncation_and_padding_are_not_saved(encoder, folder):
    encoder.tokenizer(["a b c d e", "f"], truncation=True, max_length=3, padding=True)
    save_checkpoint(encoder.model, encoder.tokenizer, folder)
    settings = json.loads((folder / "tokenizer.json").read_text())
    assert (settings["truncation"], settings["padding"]) == (None, None)


def test_half_precision_loads_as_float32(encoder, folder):
    AutoModelForMaskedLM.from_pretrained(folder).half().save_pretrained(folder)
    assert {parameter.dtype for parameter in load_checkpoint(folder).model.parameters()} == {torch.float32}


def test_decoder_with_other_weights_is_untied(encoder, folder):
    """Published checkpoints exist whose configuration says tied and whose weights are not."""
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"tie_word_embeddings": True}))
    model = load_checkpoint(folder).model
    assert model.config.tie_word_embeddings == is_tied(model) == encoder.shape.tied


def test_offline_hub_cache(encoder, folder, tmp_path, monkeypatch):
    cache = tmp_path / "hub"
    snapshot = cache / "models--lab--teacher" / "snapshots" / REVISION
    shutil.copytree(folder, snapshot)
    (cache / "models--lab--teacher" / "refs").mkdir()
    (cache / "models--lab--teacher" / "refs" / "main").write_text(REVISION)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert same(load_checkpoint("lab/teacher", REVISION).model, encoder.model)
    assert same(load_checkpoint("lab/teacher", "main").model, encoder.model)
    with pytest.raises(
        HarnessError,
        match=r"'lab/teacher': expected revision 1{40} from the hub or its cache; got no answer, and no copy",
    ):
        load_checkpoint("lab/teacher", "1" * 40)
    with pytest.raises(HarnessError, match=r"'lab/other': expected revision main"):
        load_checkpoint("lab/other", "main")
    with pytest.raises(
        HarnessError, match=r"'lab/teacher': expected a folder, or a hub id with its revision; got no such"
    ):
        load_checkpoint("lab/teacher")


def test_full_disk_is_not_reported_as_missing_model(monkeypatch, tmp_path):
    def full(*_, local_files_only=False, **__):
        if local_files_only:
            raise LocalEntryNotFoundError("nothing cached")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("harness.models.loading.hub.resume_files", lambda *_: None)
    monkeypatch.setattr("harness.models.loading.hub.snapshot_download", full)
    with pytest.raises(OSError, match="No space left") as caught:
        load_checkpoint("lab/teacher", REVISION)
    assert not isinstance(caught.value, HarnessError)


def test_pooler_and_next_sentence_head_are_left_out(wordpiece, tmp_path, capfd):
    """mBERT's weights hold a pooler and a next-sentence head, and old names of the norms' parameters."""
    config = build_bert_config(len(wordpiece))
    full = BertForPreTraining(config)
    full.save_pretrained(tmp_path)
    wordpiece.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in weights.items()
    }
    assert any("gamma" in name for name in old)
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    capfd.readouterr()
    model = load_checkpoint(tmp_path).model
    assert torch.equal(
        model.cls.predictions.transform.dense.weight, full.cls.predictions.transform.dense.weight
    )
    assert torch.equal(model.bert.embeddings.LayerNorm.weight, full.bert.embeddings.LayerNorm.weight)
    assert capfd.readouterr() == ("", "")


def build_bert_config(vocabulary: int):
    from transformers import BertConfig

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return BertConfig(vocab_size=vocabulary, max_position_embeddings=16, **sizes)


def test_assemble_model_needs_every_tensor(encoder):
    tensors = {name: value.detach().clone() for name, value in encoder.model.named_parameters()}
    config = encoder.model.config
    assert same(assemble_model(find_layout(encoder.model), config, tensors), encoder.model)
    name, tensor = tensors.popitem()
    with pytest.raises(HarnessError, match=rf"expected exactly its tensors; differs in '{name}'"):
        assemble_model(find_layout(encoder.model), config, tensors)
    with pytest.raises(HarnessError, match="differs in 'extra'"):
        assemble_model(find_layout(encoder.model), config, {**tensors, name: tensor, "extra": tensor})


def test_model_without_mlm_head_is_refused(wordpiece, tmp_path):
    BertModel(build_bert_config(len(wordpiece))).save_pretrained(tmp_path)
    wordpiece.save_pretrained(tmp_path)
    with pytest.raises(HarnessError, match="expected weights with an MLM head; got none for 'cls"):
        load_checkpoint(tmp_path)


def test_tokenizer_of_another_size_is_refused(encoder, wordpiece, unigram, folder, tmp_path):
    other = unigram if encoder.tokenizer is wordpiece else wordpiece
    message = rf"one id for each of the {len(encoder.tokenizer)} embedding rows; got {len(other)} ids"
    with pytest.raises(HarnessError, match=f"model '.*mixed': .*{message}"):
        save_checkpoint(encoder.model, other, tmp_path / "mixed")
    other.save_pretrained(folder)
    with pytest.raises(HarnessError, match=message):
        load_checkpoint(folder)
