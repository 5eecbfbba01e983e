"""The tokenizer of the folder is the tokenizer that runs: its ids are those of ``Tokenizer.from_file``."""

from __future__ import annotations

import json
import shutil

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertTokenizer

from harness.deploy.export_model import export_model
from harness.models.loading.checkpoint import load_checkpoint, save_checkpoint
from harness.models.loading.tokenizer_json import list_reading_notes, read_tokenizer, save_tokenizer
from harness.models.tokenizers.drawn_text import draw_texts
from harness.train.finetuning.encoding import split_words


@pytest.fixture(scope="module")
def drawn(lines):
    """2,000 texts over all of Unicode, half of their words from the text that the tokenizers learnt."""
    pieces = [piece for line in lines[:5] for word in line.split() for piece in (word, word[:3], word[-2:])]
    return list(draw_texts(2000, 7, pieces))


def list_ids(backend, texts):
    return [encoding.ids for encoding in backend.encode_batch_fast(texts)]


def test_ids_are_those_of_the_file(configuration, drawn):
    expected = list_ids(Tokenizer.from_file(str(configuration.folder / "tokenizer.json")), drawn)
    tokenizer = read_tokenizer(configuration.folder)
    assert tokenizer(drawn)["input_ids"] == expected
    assert list_ids(tokenizer.backend_tokenizer, drawn) == expected


def test_saved_file_is_the_same_bytes(configuration, drawn, tmp_path):
    source = (configuration.folder / "tokenizer.json").read_bytes()
    tokenizer = read_tokenizer(configuration.folder)
    tokenizer(["a b c"], truncation=True, padding="max_length", max_length=2)
    save_checkpoint(configuration.model, tokenizer, tmp_path / "one")
    again = load_checkpoint(tmp_path / "one")
    save_checkpoint(again.model, again.tokenizer, tmp_path / "two")
    for name in ("one", "two"):
        assert (tmp_path / name / "tokenizer.json").read_bytes() == source
    stock = AutoTokenizer.from_pretrained(tmp_path / "two")
    assert stock(drawn[:300])["input_ids"] == tokenizer(drawn[:300])["input_ids"]
    roles = {role: tokenizer.special_tokens_map[role] for role in tokenizer.special_tokens_map}
    assert roles == again.tokenizer.special_tokens_map == stock.special_tokens_map
    assert stock.model_input_names == tokenizer.model_input_names


@pytest.mark.parametrize(
    "configuration", ["wordpiece_digits", "unigram_bytes", "bytes_digits", "letters_gemma"], indirect=True
)
def test_exported_file_is_the_same_bytes(configuration, drawn, tmp_path):
    labels = {0: "one", 1: "two"}
    config = BertConfig.from_pretrained(
        configuration.folder, id2label=labels, label2id={name: place for place, name in labels.items()}
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(configuration.folder / name, tmp_path / "model")
    lines = []
    export_model(
        tmp_path / "model", "topic", tmp_path / "out", graphs=("legacy",), precisions=(), length=8,
        seconds=0.05, report_step=lines.append,
    )  # fmt: skip
    exported = (tmp_path / "out" / "tokenizer.json").read_bytes()
    assert exported == (configuration.folder / "tokenizer.json").read_bytes()
    assert any(line.startswith("warning: ") for line in lines) == (configuration.name == "wordpiece_digits")
    stock = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert stock(drawn[:200])["input_ids"] == configuration.tokenizer(drawn[:200])["input_ids"]


def test_layout_of_the_file_is_kept(configuration, tmp_path):
    """Keys in another order, no line breaks, truncation and padding: the bytes are the source's still."""
    spec = json.loads((configuration.folder / "tokenizer.json").read_text(encoding="utf-8"))
    spec["truncation"] = {"direction": "Right", "max_length": 7, "strategy": "LongestFirst", "stride": 0}
    text = json.dumps(dict(sorted(spec.items(), reverse=True)))
    (tmp_path / "tokenizer.json").write_text(text)
    shutil.copy(configuration.folder / "tokenizer_config.json", tmp_path)
    shutil.copy(configuration.folder / "config.json", tmp_path)
    tokenizer = read_tokenizer(tmp_path)
    save_checkpoint(configuration.model, tokenizer, tmp_path / "saved")
    assert (tmp_path / "saved" / "tokenizer.json").read_text() == text


def test_words_are_split_as_in_their_text(configuration, lines):
    """Tagging sees the sub-words that the whole text has, so that training and the page agree."""
    for line in lines[:12]:
        words = ["".join(filter(str.isalpha, word)) for word in line.split()]
        words = [word for word in words if word]
        pieces = split_words(words, configuration.tokenizer, 100)
        text = configuration.tokenizer(" ".join(words), add_special_tokens=False).input_ids
        assert [number for piece in pieces for number in piece] == text


def test_vocabulary_files_alone_are_read_as_the_class_makes_them(tmp_path, wordpiece):
    vocabulary = wordpiece.get_vocab()
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.__getitem__)) + "\n")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    tokenizer = read_tokenizer(tmp_path)
    stock = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(tokenizer, BertTokenizer)
    text = "Il-kelb JIĠRI fil-ġnien"
    assert tokenizer(text).input_ids == stock(text).input_ids
    (note,) = list_reading_notes(tokenizer)
    assert "tokens have capital letters and are never used, as BertTokenizer makes text lower-case" in note


def test_vocabulary_and_merges_alone_are_read_as_the_class_makes_them(configuration, drawn, tmp_path):
    if configuration.name != "bytes_digits":
        return
    model = json.loads((configuration.folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "".join(f"{' '.join(pair)}\n" for pair in model["merges"])
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    tokenizer = read_tokenizer(tmp_path)
    expected = AutoTokenizer.from_pretrained(tmp_path)(drawn)["input_ids"]
    assert tokenizer(drawn)["input_ids"] == expected
    save_tokenizer(tokenizer, tmp_path / "saved")
    shutil.copy(tmp_path / "config.json", tmp_path / "saved")
    assert read_tokenizer(tmp_path / "saved")(drawn)["input_ids"] == expected


def test_cased_file_under_a_class_that_lowers_has_a_note(configuration):
    notes = list_reading_notes(configuration.tokenizer)
    if configuration.name in {"wordpiece_digits", "letters_prefix", "letters_bare"}:
        assert notes == (
            "tokenizer.json keeps capital letters, BertTokenizer with these settings would not; "
            "tokenizer.json is used",
        )
    else:
        assert notes == ()


def test_special_token_that_only_the_class_names_is_not_added(wordpiece, tmp_path):
    """A file without a mask token has none; a class's default never means the unknown token's id."""
    spec = json.loads(wordpiece.backend_tokenizer.to_str())
    vocabulary = [token for token in spec["model"]["vocab"] if token != "[MASK]"]
    spec["model"]["vocab"] = {token: place for place, token in enumerate(vocabulary)}
    spec["added_tokens"] = [token for token in spec["added_tokens"] if token["content"] != "[MASK]"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    settings = {"tokenizer_class": "BertTokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = read_tokenizer(tmp_path)
    assert tokenizer.mask_token is None
    assert len(tokenizer) == len(vocabulary)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"mask_token": "[MASK]"}))
    assert read_tokenizer(tmp_path).mask_token_id == len(vocabulary)
