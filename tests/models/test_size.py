"""Accounting: the tensors weigh what the shape says."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertModel

from harness.config.shape import KNOWN_TEACHERS
from harness.errors import HarnessError
from harness.families import BERT_KEYS
from harness.models.families.table import LAYOUTS
from harness.models.size import count_parameters, sum_parts


def test_part_sizes_match_the_shape(encoder):
    parts = count_parameters(encoder.model)
    parameters = {name: part.parameters for name, part in parts.items()}
    assert parameters == encoder.shape.parameters()
    assert sum_parts(parts).parameters == sum(one.numel() for one in encoder.model.parameters())
    assert sum_parts(parts).size_bytes == 4 * sum_parts(parts).parameters


def test_bytes_follow_the_precision(encoder):
    half = type(encoder.model)(encoder.model.config).half()
    assert sum_parts(count_parameters(half)).size_bytes == 2 * sum_parts(count_parameters(half)).parameters


@pytest.mark.parametrize(("name", "parameters"), [("mbert", 177_974_523), ("xlmr", 278_295_186)])
def test_size_of_published_teachers(name, parameters):
    shape = KNOWN_TEACHERS[name].shape
    family = LAYOUTS[shape.family]
    sizes = {key: getattr(shape, field) for field, key in BERT_KEYS.items()}
    with torch.device("meta"):
        model = family.model_class(family.config_class(**sizes, **family.fixed))
    assert sum_parts(count_parameters(model)).parameters == parameters == shape.num_parameters


@pytest.mark.parametrize(
    ("name", "hidden", "parameters"),
    [
        ("mbert", 564, 44_748_724),
        ("mbert", 456, 34_958_632),
        ("mbert", 312, 22_812_376),
        ("xlmr", 564, 44_749_288),
        ("xlmr", 456, 34_959_088),
        ("xlmr", 312, 22_812_688),
    ],
)
def test_size_of_published_students(name, hidden, parameters):
    """Gurgurov et al. 2025: 6 layers, an FFN of 2,048, 40,000 tokens, the special ones among them."""
    changes = {"layers": 6, "hidden": hidden, "ffn": 2048, "vocabulary": 40_000}
    shape = KNOWN_TEACHERS[name].shape.model_copy(update=changes)
    family = LAYOUTS[shape.family]
    sizes = {key: getattr(shape, field) for field, key in BERT_KEYS.items()}
    with torch.device("meta"):
        model = family.model_class(family.config_class(**sizes, **family.fixed))
    assert sum_parts(count_parameters(model)).parameters == parameters == shape.num_parameters


def test_model_without_its_head_is_refused():
    config = BertConfig(
        vocab_size=8, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4
    )
    with pytest.raises(
        HarnessError, match=r"^model: expected one of BertForMaskedLM.*got BertModel; load it with"
    ):
        count_parameters(BertModel(config))


def test_unknown_tensor_is_refused():
    with pytest.raises(
        HarnessError, match=r"^family bert: expected a tensor of the table; got 'bert.pooler.dense.weight'"
    ):
        LAYOUTS["bert"].locate("bert.pooler.dense.weight")
