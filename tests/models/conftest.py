"""Tiny tokenizers and encoders of each family, made in code; tests read them and never change them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from harness.config.shape import Shape
from harness.models.loading.checkpoint import build_model
from harness.models.tokenizers import train_unigram, train_wordpiece

TEXT = {
    "mt": "Il-kelb jiġri fil-ġnien u l-qattusa torqod taħt is-siġra. Żewġt itfal qegħdin jilagħbu hawn.",
    "sk": "Pes beží po záhrade a mačka spí pod stromom. Dve deti sa hrajú pri mori a kŕmia čajky.",
    "sw": "Mbwa anakimbia bustanini na paka analala chini ya mti. Watoto wawili wanacheza kando ya bahari.",
    "hi": "कुत्ता बगीचे में दौड़ता है और बिल्ली पेड़ के नीचे सोती है। दो बच्चे समुद्र के पास खेलते हैं।",
    "he": "הכלב רץ בגינה והחתולה ישנה מתחת לעץ. שני ילדים משחקים ליד הים.",
}
torch.set_num_threads(1)
FAMILIES = ("bert", "xlm-roberta")


@pytest.fixture(scope="session")
def lines() -> list[str]:
    """Sentences of five languages in three scripts, and made-up words of theirs to learn."""
    made = [
        " ".join(one[:3] + two[-3:] for one, two in zip(words, words[step:], strict=False))
        for words in map(str.split, TEXT.values())
        for step in range(1, 8)
    ]
    return [*TEXT.values(), *made] * 2


@pytest.fixture(scope="session")
def wordpiece(lines):
    return train_wordpiece(lines, 320)


@pytest.fixture(scope="session")
def unigram(lines):
    return train_unigram(lines, 200)


@pytest.fixture(scope="session")
def bpe(lines):
    """A byte-level BPE tokenizer as ModernBERT's."""
    return _train_bpe(lines, unk="[UNK]", cls="[CLS]", sep="[SEP]", pad="[PAD]", mask="[MASK]")


@pytest.fixture(scope="session")
def roberta_bpe(lines):
    """A byte-level BPE tokenizer as RoBERTa's."""
    return _train_bpe(lines, cls="<s>", pad="<pad>", sep="</s>", unk="<unk>", mask="<mask>")


def _train_bpe(lines: list[str], **specials: str) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE(unk_token=specials["unk"]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[*specials.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(lines, trainer)
    first, last = specials["cls"], specials["sep"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B {last}",
        special_tokens=[(token, backend.token_to_id(token)) for token in (first, last)],
    )
    names = {f"{role}_token": token for role, token in specials.items()}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def _shape(family: str, vocabulary: int, **changes) -> Shape:
    """A shape of three layers whose every size is different, so that no axis is mistaken for another."""
    positions, types = (40, 2) if family == "bert" else (42, 1)
    sizes = {"layers": 3, "hidden": 24, "heads": 4, "ffn": 30, "positions": positions, "types": types}
    return Shape(family=family, vocabulary=vocabulary, **{**sizes, **changes})


def _lively(model):
    """Draws every parameter afresh, so that no bias is zero and no gain is one."""
    with torch.no_grad():
        generator = torch.Generator().manual_seed(5)
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


@pytest.fixture(scope="session")
def shape_of():
    return _shape


@pytest.fixture(scope="session")
def lively():
    return _lively


@pytest.fixture(
    scope="session", params=[(family, tied) for family in FAMILIES for tied in (True, False)], ids=str
)
def encoder(request, wordpiece, unigram):
    """A tiny encoder of each family, tied and untied, with its tokenizer and shape."""
    family, tied = request.param
    tokenizer = wordpiece if family == "bert" else unigram
    shape = _shape(family, len(tokenizer), tied=tied)
    return SimpleNamespace(model=_lively(build_model(shape, seed=1)), tokenizer=tokenizer, shape=shape)


@pytest.fixture
def batch(encoder, lines):
    """Two padded sentences with every third token to predict."""
    texts = [lines[0][:60], lines[2]]
    tokens = encoder.tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=32)
    labels = tokens["input_ids"].clone()
    labels[:, ::3] = -100
    labels[tokens["attention_mask"] == 0] = -100
    return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"], "labels": labels}
