"""Tiny models of two families with their tokenizers, built in code."""

from __future__ import annotations

import shutil

import onnx
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from harness.export.onnx import export, inputs_of, longest_input
from harness.measure.onnx_evaluation import Judge
from harness.measure.parity import probe_batches

WORDS = [f"word{number}" for number in range(90)] + list("abcdefghij")
LABELS = {0: "NOUN", 1: "VERB", 2: "ADJ", 3: "DET", 4: "PUNCT"}


def tokenizer(family: str) -> transformers.PreTrainedTokenizerFast:
    bert = family == "bert"
    names = (
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        if bert
        else ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    )
    vocabulary = {token: number for number, token in enumerate([*names, *WORDS])}
    first, last = ("[CLS]", "[SEP]") if bert else ("<s>", "</s>")
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]" if bert else "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(token, vocabulary[token]) for token in (first, last)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]" if bert else "<pad>",
        unk_token="[UNK]" if bert else "<unk>",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"][:: 1 if bert else 2],
        model_max_length=64,
    )


def config(family: str, **changes: object) -> transformers.PretrainedConfig:
    kind = transformers.BertConfig if family == "bert" else transformers.XLMRobertaConfig
    shape = {
        "vocab_size": len(WORDS) + 5,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 66,
        "id2label": LABELS,
        "label2id": {name: number for number, name in LABELS.items()},
    }
    special = (
        {"pad_token_id": 0} if family == "bert" else {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    )
    return kind(**{**shape, "type_vocab_size": 2 if family == "bert" else 1, **special, **changes})


@pytest.fixture(scope="session")
def tiny():
    """Gives a function that builds (model, tokenizer) for a family and the end of a class name."""

    def build(family: str, ending: str, **changes: object):
        torch.manual_seed(0)
        prefix = "Bert" if family == "bert" else "XLMRoberta"
        model = getattr(transformers, prefix + ending)(config(family, **changes))
        for parameter in model.parameters():
            parameter.data.mul_(4 if parameter.ndim > 1 else 1)
        return model.eval(), tokenizer(family)

    return build


@pytest.fixture(scope="session")
def axes_of():
    """Gives a function that reads the shapes of a file's inputs and outputs, dynamic axes by name."""

    def read(path):
        graph = onnx.load(path).graph
        return {
            value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in (*graph.input, *graph.output)
        }

    return read


def judge_of(model, tokenizer, kind=Judge) -> Judge:
    batches = probe_batches(
        inputs_of(model, tokenizer),
        vocabulary=model.config.vocab_size,
        pad_id=model.config.pad_token_id,
        max_length=longest_input(model),
    )
    return kind(model, batches, warmup_s=0, budget_s=0.05, min_rounds=5)


@pytest.fixture(name="judge_of", scope="session")
def _judge_of():
    """Gives a function that makes a quick judge of a model."""
    return judge_of


class Keeping(Judge):
    """A judge that keeps a copy of every file it sees."""

    folder = None

    def parity(self, path):
        shutil.copy(path, self.folder / path.name.removeprefix(".candidate-"))
        return super().parity(path)


@pytest.fixture(scope="session")
def both(tiny, tmp_path_factory):
    """Gives what exporting by both exporters gave, and a folder with legacy.onnx and dynamo.onnx."""
    model, tokens = tiny("xlm-roberta", "ForSequenceClassification", hidden_size=64, vocab_size=600)
    judge = judge_of(model, tokens, Keeping)
    judge.folder = tmp_path_factory.mktemp("candidates")
    folder = tmp_path_factory.mktemp("both")
    done = export(model, tokens, folder, task="topic", judge=judge, candidates=("legacy", "dynamo"))
    return done, judge
