"""A small text, its tokenizer and thin models of both families, all made in code."""

from __future__ import annotations

import copy
import gc
import random

import pytest
import torch

from harness.config.shape import Shape
from harness.data.batches import IGNORED, Packed, pack
from harness.data.examples import TaskData, TextExample, TokenExample
from harness.models.loading.checkpoint import build_model
from harness.models.tokenizers import train_wordpiece
from harness.tasks import TASKS
from harness.train.language_model.budget import Budget

gc.freeze()  # every training collects garbage: it need not look through the libraries

SYLLABLES = ("ka", "mi", "to", "ra", "nu", "sel", "bor", "din", "fa", "lu")


def write_documents(number: int, seed: int) -> list[list[str]]:
    """Draw documents of lines of made-up words, the first words far more often than the last."""
    drawn = random.Random(seed)
    words = [a + b for a in SYLLABLES for b in SYLLABLES]
    line = lambda: " ".join(words[min(int(drawn.expovariate(0.15)), 99)] for _ in range(drawn.randint(3, 9)))  # noqa: E731
    return [[line() for _ in range(drawn.randint(1, 4))] for _ in range(number)]


@pytest.fixture(scope="session")
def documents() -> list[list[str]]:
    return write_documents(120, seed=1)


@pytest.fixture(scope="session")
def tokenizer(documents):
    return train_wordpiece([line for document in documents for line in document], 90, 64)


@pytest.fixture(scope="session")
def packed(documents, tokenizer) -> Packed:
    return pack(documents, tokenizer, 24)


@pytest.fixture(scope="session")
def tagged(documents) -> TaskData:
    """Return sentences whose words are tagged by their first letter, which a model can learn."""
    words = sorted({word for document in documents for line in document for word in line.split()})
    drawn = random.Random(5)
    lines = [drawn.choices(words, k=drawn.randint(3, 9)) for _ in range(90)]
    examples = [
        TokenExample(tuple(line), tuple("NOUN" if word < "m" else "VERB" for word in line)) for line in lines
    ]
    return TaskData(
        TASKS["pos"],
        "mt",
        ("NOUN", "VERB"),
        *(tuple(part) for part in (examples[:40], examples[40:60], examples[60:90])),
    )


@pytest.fixture(scope="session")
def sorted_texts(tagged) -> TaskData:
    """Return the same sentences as texts, labelled with the commonest tag of their words."""

    def part(examples):
        return tuple(TextExample(one.text, sorted(one.labels)[len(one.labels) // 2]) for one in examples)

    return TaskData(
        TASKS["topic"], "mt", ("NOUN", "VERB"), part(tagged.train), part(tagged.dev), part(tagged.test)
    )


@pytest.fixture(scope="session")
def make_model(tokenizer):
    """Return a function that makes models of two layers of 16, whose biases are drawn too."""

    def make(family="bert", seed=1, **sizes):
        shape = {"layers": 2, "hidden": 16, "heads": 2, "ffn": 24, "vocabulary": len(tokenizer)} | sizes
        positions, types = (64, 2) if family == "bert" else (66, 1)
        model = build_model(Shape(family=family, positions=positions, types=types, **shape), seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def make_budget():
    def make(**values):
        usual = {
            "tokens": 1600,
            "batch_tokens": 48,
            "sequence_length": 24,
            "learning_rate": 2e-3,
            "warmup_fraction": 0.1,
            "mask_fraction": 0.2,
            "precision": "fp32",
            "seed": 3,
        }
        return Budget(**(usual | values))

    return make


@pytest.fixture
def batch():
    """Return three rows of 9, 6 and 4 tokens; four of the nineteen positions are masked."""
    ids_BL = torch.tensor(
        [[2, 10, 11, 4, 13, 14, 15, 16, 3], [2, 20, 4, 22, 23, 3, 0, 0, 0], [2, 4, 31, 3, 0, 0, 0, 0, 0]]
    )
    labels_BL = torch.full_like(ids_BL, IGNORED)
    for row, column, label in ((0, 3, 12), (0, 6, 15), (1, 2, 21), (2, 1, 30)):
        labels_BL[row, column] = label
    return {"input_ids": ids_BL, "attention_mask": (ids_BL != 0).long(), "labels": labels_BL}


@pytest.fixture
def weights_of():
    """Return a function that copies a model's weights."""
    return lambda model: copy.deepcopy(model.state_dict())
