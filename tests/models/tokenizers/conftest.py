"""Folders with tokenizers of four families in thirteen configurations, none as its class would rebuild it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from harness.models.loading.checkpoint import build_model
from harness.models.loading.folder import open_model_folder
from harness.models.loading.tokenizer import load_tokenizer
from harness.models.loading.tokenizer_json import save_tokenizer

BERT = {
    "unk_token": "[UNK]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
XLMR = {
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "mask_token": "<mask>",
}
BERT_FIRST = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
XLMR_FIRST = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
LETTER_SPLIT = Regex(r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+")


def edit(backend: Tokenizer, change: Callable[[dict[str, Any]], None]) -> Tokenizer:
    spec = json.loads(backend.to_str())
    change(spec)
    return Tokenizer.from_str(json.dumps(spec))


def frame(backend: Tokenizer, first: str, last: str | None) -> Tokenizer:
    end = f" {last}" if last else ""
    tokens = [(token, backend.token_to_id(token)) for token in (first, last) if token]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A{end}", pair=f"{first} $A{end} $B:1{end and end + ':1'}", special_tokens=tokens
    )
    return backend


def add_bytes(spec: dict[str, Any]) -> None:
    """Give every byte a token, as in Gemma's and Llama's tokenizers."""
    pieces, names = spec["model"]["vocab"], [f"<0x{byte:02X}>" for byte in range(256)]
    spec["model"]["byte_fallback"] = True
    if isinstance(pieces, list):
        pieces[5:5] = [[name, -20.0] for name in names]
        spec["model"]["unk_id"] = 3
    else:
        pieces.update({name: len(pieces) + place for place, name in enumerate(names)})


def train_wordpiece(lines: list[str], normalizer: Any, **options: Any) -> Tokenizer:
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]", **options))
    backend.normalizer, backend.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=420, special_tokens=BERT_FIRST, show_progress=False)
    backend.train_from_iterator(lines, trainer)
    return backend


def train_unigram(lines: list[str], normalizer: Any, pre_tokenizer: Any) -> Tokenizer:
    backend = Tokenizer(models.Unigram())
    backend.normalizer, backend.pre_tokenizer = normalizer, pre_tokenizer
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=260, special_tokens=XLMR_FIRST, unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(lines, trainer)
    return frame(backend, "<s>", "</s>")


def train_bytes(lines: list[str], pre_tokenizer: Any) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizer, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=460,
        special_tokens=XLMR_FIRST,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(lines, trainer)
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return backend


def train_letters(lines: list[str], normalizer: Any, pre_tokenizer: Any, **options: Any) -> Tokenizer:
    backend = Tokenizer(models.BPE(unk_token="<unk>", **options))
    backend.normalizer, backend.pre_tokenizer = normalizer, pre_tokenizer
    marks = {
        name: options[name] for name in ("continuing_subword_prefix", "end_of_word_suffix") if name in options
    }
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=XLMR_FIRST, show_progress=False, **marks)
    backend.train_from_iterator(lines, trainer)
    return frame(backend, "<s>", "</s>")


def wordpiece_digits(lines: list[str]) -> tuple[Tokenizer, dict[str, Any]]:
    kept = normalizers.BertNormalizer(lowercase=False, strip_accents=False, handle_chinese_chars=False)
    backend = train_wordpiece(lines, normalizers.Sequence([normalizers.NFKC(), kept]))
    digits = pre_tokenizers.Digits(individual_digits=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), digits])
    return frame(backend, "[CLS]", "[SEP]"), BERT | {"tokenizer_class": "BertTokenizerFast"}


def wordpiece_lower(lines: list[str]) -> tuple[Tokenizer, dict[str, Any]]:
    backend = train_wordpiece(lines, normalizers.BertNormalizer(lowercase=True))
    backend = edit(backend, lambda spec: spec["model"].update(max_input_chars_per_word=5))
    return frame(backend, "[CLS]", "[SEP]"), BERT | {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": False,
    }


def wordpiece_bare(lines: list[str]) -> tuple[Tokenizer, dict[str, Any]]:
    """No closing token, and added tokens with every option."""
    backend = train_wordpiece(lines, normalizers.BertNormalizer(lowercase=False), max_input_chars_per_word=9)
    backend.add_tokens([AddedToken("<one>", single_word=True), AddedToken("kelb!", normalized=True)])
    backend.add_special_tokens([AddedToken("<two>", lstrip=True, rstrip=True, normalized=False)])
    return frame(backend, "[CLS]", None), {"tokenizer_class": "BertTokenizer", "do_lower_case": False}


def unigram_old(lines: list[str]) -> tuple[Tokenizer, dict[str, Any]]:
    lower = normalizers.Sequence([normalizers.Lowercase(), normalizers.NFKC()])
    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    return train_unigram(lines, lower, split), XLMR | {"tokenizer_class": "XLMRobertaTokenizerFast"}


def unigram_never(lines: list[str]) -> tuple[Tokenizer, dict[str, Any]]:
    split = pre_tokenizers.Metaspace(prepend_scheme="never")
    return train_unigram(lines, normalizers.NFC(), split), XLMR | {"tokenizer_class": "XLMRobertaTokenizer"}


def unigram_bytes(lines: list[str]) -> tuple[Tokenizer, dict[str, Any]]:
    collapse = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    backend = edit(train_unigram(lines, collapse, pre_tokenizers.Metaspace()), add_bytes)
    return backend, XLMR | {"tokenizer_class": "XLMRobertaTokenizer"}


def bytes_prefix(lines: list[str]) -> tuple[Tokenizer, dict[str, Any]]:
    backend = train_bytes(lines, pre_tokenizers.ByteLevel(add_prefix_space=True))
    return backend, XLMR | {"tokenizer_class": "RobertaTokenizerFast"}


def bytes_digits(lines: list[str]) -> tuple[Tokenizer, dict[str, Any]]:
    digits = pre_tokenizers.Digits(individual_digits=True)
    split = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend = train_bytes(lines, split)
    backend.normalizer = normalizers.NFC()
    return backend, XLMR | {"tokenizer_class": "RobertaTokenizer"}


def bytes_whole(lines: list[str]) -> tuple[Tokenizer, dict[str, Any]]:
    """Words that are tokens are taken whole, as by Llama 3, also where no merges make them."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = pre_tokenizers.Sequence([pre_tokenizers.Split(LETTER_SPLIT, "isolated"), byte_level])

    def take_whole(spec: dict[str, Any]) -> None:
        spec["model"]["ignore_merges"] = True
        spec["model"]["vocab"]["qzqz"] = len(spec["model"]["vocab"])

    backend = edit(train_bytes(lines, split), take_whole)
    return backend, XLMR | {"tokenizer_class": "PreTrainedTokenizerFast"}


def letters_gemma(lines: list[str]) -> tuple[Tokenizer, dict[str, Any]]:
    marked = normalizers.Replace(" ", "▁")
    backend = train_letters(lines, marked, pre_tokenizers.Split("▁", "merged_with_next"), fuse_unk=True)
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return edit(backend, add_bytes), XLMR | {"tokenizer_class": "GemmaTokenizerFast"}


def letters_suffix(lines: list[str]) -> tuple[Tokenizer, dict[str, Any]]:
    split = pre_tokenizers.Whitespace()
    backend = train_letters(lines, normalizers.NFC(), split, end_of_word_suffix="</w>")
    marked = AddedToken("na</w>", normalized=False), AddedToken("ka", single_word=True)
    backend.add_tokens([*marked, "naka ka"])
    return backend, XLMR | {"tokenizer_class": "PreTrainedTokenizerFast"}


def letters_prefix(lines: list[str]) -> tuple[Tokenizer, dict[str, Any]]:
    split = pre_tokenizers.Whitespace()
    backend = train_letters(lines, normalizers.NFD(), split, continuing_subword_prefix="##", fuse_unk=True)
    return backend, XLMR


def letters_bare(lines: list[str]) -> tuple[Tokenizer, dict[str, Any]]:
    """No pre-tokeniser at all, a normaliser that creates a character, and ids given to merged bytes."""
    marked = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend = edit(train_letters(lines, marked, pre_tokenizers.Split("▁", "merged_with_next")), add_bytes)

    def join_bytes(spec: dict[str, Any]) -> None:
        spec["pre_tokenizer"] = None
        spec["model"]["vocab"]["<0xF0><0x9F>"] = len(spec["model"]["vocab"])
        spec["model"]["merges"].append(["<0xF0>", "<0x9F>"])

    return edit(backend, join_bytes), XLMR


CONFIGURATIONS = {
    make.__name__: make
    for make in (
        wordpiece_digits,
        wordpiece_lower,
        wordpiece_bare,
        unigram_old,
        unigram_never,
        unigram_bytes,
        bytes_prefix,
        bytes_digits,
        bytes_whole,
        letters_gemma,
        letters_suffix,
        letters_prefix,
        letters_bare,
    )
}


@pytest.fixture(scope="session", params=CONFIGURATIONS)
def configuration(request, lines, shape_of, lively, tmp_path_factory):
    """A folder with a model and `tokenizer.json`, the tokenizer as it was read, and the model."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    backend, settings = CONFIGURATIONS[request.param](lines)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    model = build_model(shape_of("bert", backend.get_vocab_size(), positions=200), seed=1)
    model.config.pad_token_id = backend.token_to_id("[PAD]") or backend.token_to_id("<pad>") or 0
    lively(model).save_pretrained(folder)
    tokenizer = load_tokenizer(open_model_folder(folder))
    return SimpleNamespace(name=request.param, folder=folder, tokenizer=tokenizer, model=model)


@pytest.fixture
def save(tmp_path):
    """Return a function that saves a tokenizer and returns the folder."""

    def write(tokenizer: Any) -> Path:
        save_tokenizer(tokenizer, tmp_path)
        return tmp_path

    return write
