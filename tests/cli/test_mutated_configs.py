"""Whatever config.json holds, a command works or ends with one line, never with a fault of the harness.

A sample runs in the suite; ``HARNESS_EXHAUSTIVE=1`` runs 2,500 configurations and as many label maps.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers

from harness import cli
from harness.errors import HarnessError
from harness.export.source import load_source
from harness.measure.parity import probe_batches, reference_logits
from harness.models.loading.checkpoint import load_teacher
from harness.train.finetuning.finetune import load_task_model

EXHAUSTIVE = bool(os.environ.get("HARNESS_EXHAUSTIVE"))
COUNT = 2500 if EXHAUSTIVE else 36
COMMANDS_EACH = 25 if EXHAUSTIVE else COUNT
"""Every so many configurations, whole commands are run too."""
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
FAMILIES = {
    "Bert": ("bert", SIZES),
    "XLMRoberta": ("xlm-roberta", SIZES | {"pad_token_id": 1, "type_vocab_size": 1}),
    "DistilBert": ("bert", {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}),
    "Electra": ("bert", SIZES | {"embedding_size": 8}),
    "ModernBert": (
        "bert",
        SIZES | {"pad_token_id": 0, "local_attention": 4, "global_attn_every_n_layers": 2},
    ),
}
LABELS = {0: "sport", 1: "health", 2: "news"}
VALUES = (
    None, True, False, 0, 1, -1, 2, 3, 10**6, 10**20, 0.5, -0.5, 1e-12, float("nan"), float("inf"), "",
    "16", "gelu", "relu", "nonsense", "absolute", "relative_key", "float16", "float99", [], [1], ["a",
    "b"], {}, {"0": "a"}, {"a": {"b": [1, None]}}, "x" * 5000, "\ud800", "é\u202e\n",
)  # fmt: skip
KEYS = (
    "output_attentions", "output_hidden_states", "return_dict", "torchscript", "use_cache",
    "is_decoder", "num_labels", "add_cross_attention", "problem_type", "position_embedding_type",
    "pruned_heads", "quantization_config", "dtype", "torch_dtype", "attn_implementation",
    "_attn_implementation", "chunk_size_feed_forward", "id2label", "label2id", "tie_word_embeddings",
    "architectures", "model_type", "auto_map", "rope_scaling", "rope_parameters", "head_dim",
    "layer_types", "tokenizer_class", "per_layer_config", "attribute_map", "to_dict", "from_dict",
    "name_or_path", "hidden_size", "num_hidden_layers", "hidden_act", "layer_norm_eps", "pad_token_id",
    "bos_token_id", "vocab_size", "classifier_dropout", "initializer_range", "transformers_version",
    "sliding_window", "embedding_size", "dim",
)  # fmt: skip


@pytest.fixture(scope="module")
def published(tiny, tmp_path_factory):
    """Save a classifier of each family; return the folders by family."""
    folders = {}
    for family, (tokenizer, sizes) in FAMILIES.items():
        torch.manual_seed(0)
        config = getattr(transformers, f"{family}Config")(
            vocab_size=105, max_position_embeddings=66, id2label=LABELS, **sizes
        )
        folders[family] = tmp_path_factory.mktemp("published") / family
        getattr(transformers, f"{family}ForSequenceClassification")(config).save_pretrained(folders[family])
        tiny(tokenizer, "ForMaskedLM")[1].save_pretrained(folders[family])
    return folders


def mutate_keys(config: dict, chance: random.Random) -> dict:
    """Change one to three keys of a configuration."""
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        key = chance.choice([*config, *KEYS])
        action = chance.randrange(5)
        if action == 0:
            config.pop(key, None)
        elif action == 1 and key in config:
            config[key[:-1] + chance.choice("sxe_")] = config.pop(key)
        else:
            config[key] = chance.choice(VALUES)
    return config


def mutate_labels(config: dict, chance: random.Random) -> dict:
    """Change the label maps of a configuration, and sometimes what the head is for."""
    size = chance.choice([1, 2, 3, 3, 3, 4])
    start = chance.choice([0, 0, 0, 1, -1])
    names = [
        chance.choice(["sport", "health", "news", "LABEL_0", "é", "e\u0301", "", 0, 1, None, "a\tb"])
        for _ in range(size)
    ]
    if chance.random() < 0.5:
        names = ["sport", "health", "news", "culture"][:size]
    maps = {
        "id2label": {str(place + start): name for place, name in enumerate(names)},
        "label2id": {str(name): place + start for place, name in enumerate(names)},
        "num_labels": size,
        "problem_type": chance.choice(
            [None, "regression", "multi_label_classification", "single_label_classification"]
        ),
    }
    if chance.random() < 0.3:
        maps["id2label"].pop(chance.choice([*maps["id2label"]]))
    for key, given in maps.items():
        action = chance.random()
        if action < 0.5:
            config[key] = given
        elif action < 0.6:
            config[key] = chance.choice(VALUES)
        elif action < 0.7:
            config.pop(key, None)
    return config


def read_as_teacher(folder: Path) -> None:
    load_teacher(folder)


def read_for_scoring(folder: Path) -> None:
    for kind in ("sequence", "token"):
        load_task_model(folder, SimpleNamespace(labels=("a", "b", "c"), task=SimpleNamespace(kind=kind)))


def read_for_export(folder: Path) -> None:
    for task in ("topic", "encoder"):
        source = load_source(folder, task)
        batches = probe_batches(
            source.inputs,
            vocabulary=source.model.config.vocab_size,
            pad_id=source.model.config.pad_token_id or 0,
            max_length=source.max_tokens,
            types=source.token_types,
        )
        for batch in batches[:2]:
            reference_logits(source.model, batch)


def run_command(words: list[object], monkeypatch, capsys) -> int:
    """Run a command; check that it works or ends with one line that is no fault of its own."""
    monkeypatch.setattr(sys, "argv", ["harness", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "internal error" not in said
    assert ended.value.code in {0, 1, 2}, said
    if ended.value.code:
        assert said.splitlines()[-1].startswith("harness: ")
    return int(ended.value.code)


def find_refusal(read: Callable[[Path], None], folder: Path) -> str:
    """Return the line with which a folder is refused; empty where it is read."""
    try:
        read(folder)
    except HarnessError as error:
        line = str(error)
    except Exception as error:
        config = (folder / "config.json").read_text()
        raise AssertionError(f"{read.__name__}: {config}") from error
    else:
        return ""
    assert len(line.splitlines()) == 1, line
    assert line.encode().startswith(b"model '"), line
    assert "expected" in line, line
    return line


@pytest.mark.parametrize("mutate", [mutate_keys, mutate_labels])
def test_any_configuration_works_or_is_refused_in_one_line(mutate, published, tmp_path, monkeypatch, capsys):
    chance = random.Random(19)
    counts = dict.fromkeys(("accepted", "refused", "exported", "planned"), 0)
    folder, out = tmp_path / "model", tmp_path / "out"
    for number in range(COUNT):
        family = [*FAMILIES][number % len(FAMILIES)]
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(published[family], folder, copy_function=os.link)
        (folder / "config.json").unlink()
        config = mutate(json.loads((published[family] / "config.json").read_text()), chance)
        (folder / "config.json").write_text(json.dumps(config))
        read = chance.choice([read_as_teacher, read_for_scoring, read_for_export, read_for_export])
        line = find_refusal(read, folder)
        counts["refused" if line else "accepted"] += 1
        if number % COMMANDS_EACH == 1:
            options = [
                "--out",
                out,
                "--graphs",
                "legacy",
                "--precisions",
                "none",
                "--seconds",
                0.05,
                "--length",
                16,
            ]
            shutil.rmtree(out, ignore_errors=True)
            counts["exported"] += not run_command(
                ["export", folder, "--task", "topic", *options], monkeypatch, capsys
            )
            words = ["plan", "mt", "--scale", "mini", "--teacher", folder, "--runs", tmp_path / "runs"]
            counts["planned"] += not run_command(words, monkeypatch, capsys)
    assert counts["accepted"] > COUNT / 5
    assert counts["refused"] > COUNT / 5
    sys.stdout.write(f"{mutate.__name__}: {COUNT} configurations, {counts}\n")
