"""Tiny models of two families with their tokenizers, built in code."""

from __future__ import annotations

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

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
        "num_hidden_layers": 2,
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
