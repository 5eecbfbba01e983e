"""A scale, a recipe, a data folder and a teacher as small as they come, for tests that run whole stages."""

from __future__ import annotations

import copy
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

# Children inherit that Ctrl-C is ignored, as it is for a job in the background; tests send it and mean it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

PRETRAIN = {
    "family": "bert",
    "layers": 2,
    "hidden": 16,
    "heads": 2,
    "ffn": 24,
    "vocabulary": 400,
    "positions": 48,
    "languages": ["mt", "sk"],
    "lines": 100,
    "tokens": 6000,
    "learning_rate": 1e-3,
    "batch_tokens": 96,
    "mask_fraction": 0.15,
    "warmup_fraction": 0.06,
    "sequence_length": 32,
    "smoothing": 0.5,
    "tokenizer_characters": 100_000,
}
TRAINING = {
    "tokens": 600,
    "learning_rate": 1e-3,
    "batch_tokens": 96,
    "mask_fraction": 0.15,
    "warmup_fraction": 0.06,
}
SCALE: dict[str, Any] = {
    "teacher": {"pretrain": PRETRAIN},
    "corpus": {"source": "builtin", "lines": 100, "held_out_fraction": 0.1},
    "sequence_length": 32,
    "precision": "fp32",
    "seed": 1,
    "training": {"adapt": TRAINING, "distill": dict(TRAINING), "prune": {"tokens": 200, "batch_tokens": 96}},
    "tasks": {"source": "builtin", "names": ["pos", "topic"], "train": 12, "dev": 6, "test": 12},
    "score": {
        "models": "all",
        "seeds": [1, 2],
        "epochs": 1,
        "learning_rate": 5e-4,
        "batch_size": 8,
        "warmup_fraction": 0.1,
        "weight_decay": 0.01,
        "baselines": ["trimmed", "random", "static", "tfidf", "majority"],
    },
    "latency": {
        "lengths": [8],
        "threads": [1],
        "batch_size": 1,
        "seconds": 0.02,
        "warmup_seconds": 0.005,
        "rounds": 3,
    },
    "export": {"candidates": ["legacy"], "quantize": "int8", "parity_tolerance": 1e-4},
}
RECIPE: dict[str, Any] = {
    "source": "made for the tests",
    "teacher": "mbert",
    "steps": [
        {"adapt": {}},
        {"shorten": {"layers": "1/2", "keep": "last"}},
        {"distill": {"teacher": "adapt", "loss": {"mlm": 0.5, "logit_mse": 0.5}}},
        {"prune": {"width": "2/3", "score": "taylor", "rounds": 2, "mask_fraction": 0.15}},
        {"narrow": {"width": "1/2", "basis": "first"}},
        {"trim": {"tokens": "2/3"}},
    ],
}
WORDS = [
    "".join((a, b))
    for a in ("ka", "mi", "to", "ra", "nu", "sel", "bor")
    for b in ("din", "fa", "lu", "ki", "mo")
]


def change(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return settings with some of them replaced, each named by its path: ``{"score.epochs": 2}``."""
    settings = copy.deepcopy(settings)
    for place, value in changes.items():
        *path, last = place.split(".")
        inner = settings
        for name in path:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return settings


@pytest.fixture(scope="session")
def write_scale() -> Callable[..., Path]:
    """Write a scale into a folder, with changes by path, and return the file."""

    def write(folder: Path, changes: dict[str, Any] | None = None, name: str = "tiny") -> Path:
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(change(SCALE, changes or {})), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def write_recipe() -> Callable[..., Path]:
    """Write a recipe with one step of every kind into a folder, and return the file."""

    def write(folder: Path, steps: list[dict[str, Any]] | None = None, name: str = "short") -> Path:
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(RECIPE | {"steps": steps or RECIPE["steps"]}), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def write_data() -> Callable[..., Path]:
    """Write a data folder with text and with the tasks ``pos`` and ``topic``, and return the folder."""

    def write(root: Path, languages: tuple[str, ...] = ("mt",), documents: int = 60) -> Path:
        for language in languages:
            drawn = random.Random(language)
            _write_corpus(root / "corpus" / language, documents, drawn)
            _write_tasks(root, language, drawn)
        return root

    return write


def _write_corpus(folder: Path, documents: int, drawn: random.Random) -> None:
    folder.mkdir(parents=True)
    text = "\n".join(
        "".join(f"{_line(drawn)}\n" for _ in range(drawn.randint(1, 3))) for _ in range(documents)
    )
    (folder / "text.txt").write_text(text, encoding="utf-8")


def _line(drawn: random.Random) -> str:
    return " ".join(drawn.choices(WORDS, k=drawn.randint(4, 9)))


def _write_tasks(root: Path, language: str, drawn: random.Random) -> None:
    for task in ("pos", "topic"):
        (root / task / language).mkdir(parents=True)
    for split, number in (("train", 16), ("dev", 6), ("test", 10)):
        lines = [_line(drawn) for _ in range(number)]
        texts = "".join(f"{line}\t{'odd' if len(line) % 2 else 'even'}\n" for line in lines)
        (root / "topic" / language / f"{split}.tsv").write_text(f"text\tlabel\n{texts}", encoding="utf-8")
        (root / "pos" / language / f"{split}.conllu").write_text(
            "".join(_sentence(line) for line in lines), encoding="utf-8"
        )


def _sentence(line: str) -> str:
    tag = lambda word: "NOUN" if word < "m" else "VERB"  # noqa: E731
    rows = (f"{n}\t{word}\t_\t{tag(word)}" + "\t_" * 6 for n, word in enumerate(line.split(), start=1))
    return "".join(f"{row}\n" for row in rows) + "\n"


@pytest.fixture(scope="session")
def write_teacher() -> Callable[..., Path]:
    """Write a teacher of two layers of 16 that knows the words of the data folder, and return its folder."""

    def write(folder: Path, **sizes: Any) -> Path:
        from harness.config.shape import Shape
        from harness.models.loading import checkpoint
        from harness.models.tokenizers import train_wordpiece

        shape = {
            "layers": 2,
            "hidden": 16,
            "heads": 2,
            "ffn": 24,
            "vocabulary": 60,
            "positions": 48,
            "types": 2,
        }
        lines = [_line(random.Random(number)) for number in range(200)]
        tokenizer = train_wordpiece(lines, shape["vocabulary"], 48)
        model = checkpoint.build_model(Shape(family="bert", **(shape | sizes)), seed=7)
        checkpoint.save_checkpoint(model, tokenizer, folder)
        return folder

    return write


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    """Run a command that must fail, and return its exit code and its one line."""

    def refused(*given):
        from harness import cli

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, given)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("[")]
        assert len(lines) == 1
        assert lines[0].startswith("harness: ")
        return ended.value.code, lines[0].removeprefix("harness: ")

    return refused


WORDS = [f"word{number}" for number in range(90)] + list("abcdefghij")
LABELS = {0: "NOUN", 1: "VERB", 2: "ADJ", 3: "DET", 4: "PUNCT"}


def _tiny_tokenizer(family: str) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    bert = family == "bert"
    special = "[PAD] [UNK] [CLS] [SEP] [MASK]" if bert else "<s> <pad> </s> <unk> <mask>"
    vocabulary = {token: number for number, token in enumerate([*special.split(), *WORDS])}
    first, last = ("[CLS]", "[SEP]") if bert else ("<s>", "</s>")
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]" if bert else "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(token, vocabulary[token]) for token in (first, last)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]" if bert else "<pad>",
        unk_token="[UNK]" if bert else "<unk>",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"][:: 1 if bert else 2],
        model_max_length=64,
    )


@pytest.fixture(scope="session")
def tiny() -> Callable[..., tuple[Any, Any]]:
    """Return a function that builds (model, tokenizer) for a family and the end of a class name."""
    import torch
    import transformers

    def build(family: str, ending: str, **changes: object) -> tuple[Any, Any]:
        bert = family == "bert"
        sizes = {
            "vocab_size": len(WORDS) + 5,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 48,
            "max_position_embeddings": 66,
            "id2label": LABELS,
            "label2id": {name: number for number, name in LABELS.items()},
        }
        ids = {"pad_token_id": 0} if bert else {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
        prefix = "Bert" if bert else "XLMRoberta"
        config = getattr(transformers, f"{prefix}Config")(
            **{**sizes, "type_vocab_size": 2 if bert else 1, **ids, **changes}
        )
        torch.manual_seed(0)
        model = getattr(transformers, prefix + ending)(config)
        for parameter in model.parameters():
            parameter.data.mul_(4 if parameter.ndim > 1 else 1)
        return model.eval(), _tiny_tokenizer(family)

    return build


@pytest.fixture(scope="session")
def read_axes() -> Callable[[Path], dict[str, list[Any]]]:
    """Return a function that reads the shapes of a file's inputs and outputs, dynamic axes by name."""
    import onnx

    def read(path: Path) -> dict[str, list[Any]]:
        graph = onnx.load(path).graph
        return {
            value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
            for value in (*graph.input, *graph.output)
        }

    return read
