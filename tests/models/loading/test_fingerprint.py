"""One digest for one model: saved again it stays, changed in anything that counts it does not."""

from __future__ import annotations

import json
import shutil
from itertools import chain
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM

from harness.data import builtin
from harness.models.loading.fingerprint import fingerprint
from harness.models.tokenizers.training import train_wordpiece


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tokenizer = train_wordpiece(chain.from_iterable(builtin.read_corpus("en", 200, 0)), 300, 16)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=18,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_model_saved_again_keeps_its_fingerprint(saved, tmp_path):
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(saved), AutoTokenizer.from_pretrained(saved)
    tokenizer(
        ["a dog", "the cat sat"], padding=True, truncation=True, max_length=4
    )  # leaves its mark when saved
    model.save_pretrained(tmp_path / "again")
    tokenizer.save_pretrained(tmp_path / "again")
    (tmp_path / "again" / "README.md").write_text("A model.")
    assert (saved / "tokenizer.json").read_bytes() != (tmp_path / "again" / "tokenizer.json").read_bytes()
    assert fingerprint(tmp_path / "again") == fingerprint(saved)


def reweigh(folder: Path) -> None:
    model = AutoModelForMaskedLM.from_pretrained(folder)
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.bias[3] += 1e-3
    model.save_pretrained(folder)


def rehead(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 4}))


def retokenise(folder: Path) -> None:
    settings = json.loads((folder / "tokenizer.json").read_text())
    settings["normalizer"] = {"type": "Lowercase"}
    (folder / "tokenizer.json").write_text(json.dumps(settings))


@pytest.mark.parametrize("change", [reweigh, rehead, retokenise])
def test_changes_alter_the_fingerprint(saved, tmp_path, change):
    other = Path(shutil.copytree(saved, tmp_path / "other"))
    change(other)
    assert fingerprint(other) != fingerprint(saved)


def test_vocabulary_file_counts_without_tokenizer_json(saved, tmp_path):
    (saved / "tokenizer.json").unlink()
    (saved / "vocab.txt").write_text("[UNK]\na\n")
    before = fingerprint(saved)
    (saved / "vocab.txt").write_text("[UNK]\nb\n")
    assert fingerprint(saved) != before
