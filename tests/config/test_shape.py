from __future__ import annotations

import pytest

from harness.config import KNOWN_TEACHERS, Shape
from harness.errors import HarnessError
from harness.families import TEACHERS

MBERT = KNOWN_TEACHERS["mbert"].shape
XLMR = KNOWN_TEACHERS["xlmr"].shape

SHAPES = [
    MBERT,
    XLMR,
    MBERT.model_copy(update={"layers": 6, "hidden": 312, "ffn": 2048, "vocabulary": 40_000}),
    XLMR.model_copy(update={"layers": 5, "hidden": 128, "heads": 2, "ffn": 100, "vocabulary": 999}),
    MBERT.model_copy(update={"layers": 2, "tied": False, "vocabulary": 1000}),
]


def build(shape: Shape):
    """The stock model of a shape, without memory for its weights."""
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM

    config = AutoConfig.for_model(
        shape.family,
        num_hidden_layers=shape.layers,
        hidden_size=shape.hidden,
        num_attention_heads=shape.heads,
        intermediate_size=shape.ffn,
        vocab_size=shape.vocabulary,
        max_position_embeddings=shape.positions,
        type_vocab_size=shape.types,
        tie_word_embeddings=shape.tied,
    )
    with torch.device("meta"):
        return AutoModelForMaskedLM.from_config(config)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.family}-{shape.num_parameters}")
def test_parameters_equal_stock_model(shape):
    model = build(shape)
    assert shape.num_parameters == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("shape", SHAPES[:2], ids=["mbert", "xlmr"])
def test_every_part_equals_stock_model(shape):
    counted = dict.fromkeys(shape.parameters(), 0)
    for name, weight in build(shape).named_parameters():
        counted[part_of(name)] += weight.numel()
    assert counted == shape.parameters()


def part_of(name: str) -> str:
    if "encoder.layer." not in name:
        tied = name == "lm_head.decoder.weight"
        return "embeddings" if ".embeddings." in name or tied else "mlm_head"
    if "LayerNorm" in name:
        return "norms"
    return "attention" if ".attention." in name else "ffn"


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.family}-{shape.num_parameters}")
def test_shape_is_read_from_config(shape):
    assert Shape.from_transformers(build(shape).config.to_dict()) == shape


def test_xlmr_leaves_two_positions_unused():
    assert (MBERT.max_length, XLMR.max_length) == (512, 512)


def test_unknown_family_is_refused():
    known = ", ".join(TEACHERS)
    with pytest.raises(HarnessError, match=rf"^unknown model family 'gpt2'; there are: {known}"):
        Shape.from_transformers({"model_type": "gpt2"})


def test_config_without_number_is_refused():
    config = build(SHAPES[4]).config.to_dict()
    del config["hidden_size"]
    with pytest.raises(HarnessError, match=r"^config\.json: expected .*; lacks hidden_size$"):
        Shape.from_transformers(config)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_attention_heads", 7, "config.json: hidden 768 is no multiple of the 7 heads"),
        (
            "vocab_size",
            "many",
            "config.json: vocab_size: expected a whole number of one or more, as 1600 or 1.6e9; got 'many'",
        ),
    ],
)
def test_config_with_wrong_number_is_refused(key, value, message):
    config = build(SHAPES[4]).config.to_dict() | {key: value}
    with pytest.raises(HarnessError) as caught:
        Shape.from_transformers(config)
    assert str(caught.value) == message


def test_teachers_are_pinned_to_a_full_commit():
    assert all(len(teacher.revision) == 40 for teacher in KNOWN_TEACHERS.values())
