"""Every "no" of the families' table is one line, and a recipe's step is refused when it is planned."""

from __future__ import annotations

import json

import pytest
from transformers import AutoConfig

from harness.config.load import load_recipe, load_scale
from harness.config.resolve import resolve
from harness.config.teacher import find_teacher
from harness.errors import HarnessError
from harness.export.source import load_source
from harness.families import FAMILIES, SUPPORTED, TEACHERS
from harness.models.loading.checkpoint import load_teacher

SIZES = {
    "layers": 4,
    "hidden": 24,
    "heads": 4,
    "ffn": 30,
    "vocabulary": 90,
    "positions": 48,
    "types": 1,
    "embedding": 24,
    "distances": 8,
}
SETTINGS = {"relative_attention": True, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
AMOUNT = {"tokens": 400, "batch_tokens": 96, "mask_fraction": 0.15}
STEPS = {
    "narrow on text": {"narrow": {"width": "1/2", "basis": "pca", "heads": "dropped", **AMOUNT}},
    "attention": {"distill": {"teacher": "teacher", "loss": {"attention_mse": 1}, "layers": "last"}},
}
OTHERS = {
    "causal": ({"model_type": "gpt2"}, "'gpt2'"),
    "encoder and decoder": ({"model_type": "t5"}, "'t5'"),
    "causal BERT": ({"model_type": "bert", "is_decoder": True}, "expected is_decoder False; got True"),
    "another encoder": ({"model_type": "funnel"}, "'funnel'"),
}


def write_config(folder, family, **changes):
    """Write the config.json of a small model of a family."""
    row = FAMILIES[family]
    sizes = {key: SIZES[name] for name, key in row.keys.items()}
    extra = SETTINGS | {"position_biased_input": False} if family == "deberta-v2" else {}
    ids = {"pad_token_id": row.padding_id if row.padding_id < 90 else 0}
    config = AutoConfig.for_model(family, **sizes, **extra, **ids).to_dict()
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def read_shape(folder):
    return find_teacher(load_recipe("trimmer2023"), load_scale("paper").with_teacher(str(folder))).shape


@pytest.fixture
def plan_step(tmp_path, write_scale, write_recipe):
    """Return a function that plans one step for a shape."""

    def plan(shape, step):
        recipe = load_recipe(write_recipe(tmp_path, [step]))
        return resolve(recipe, load_scale(write_scale(tmp_path)), shape)

    return plan


def check_one_line(error):
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("support", STEPS)
@pytest.mark.parametrize("family", TEACHERS)
def test_step_is_planned_where_the_table_says_yes(family, support, plan_step, tmp_path):
    shape = read_shape(write_config(tmp_path, family))
    if support in FAMILIES[family].supports:
        assert plan_step(shape, STEPS[support])[0].shape.family == family
        return
    with pytest.raises(HarnessError, match=rf"^short: steps\[0\]\.\w+: expected .*; got {family}; ") as error:
        plan_step(shape, STEPS[support])
    check_one_line(error)


@pytest.mark.parametrize("family", [name for name in TEACHERS if "pretrain" not in FAMILIES[name].supports])
def test_teacher_of_another_family_is_not_trained_here(family, write_scale, tmp_path):
    path = write_scale(tmp_path, {"teacher.pretrain.family": family})
    with pytest.raises(
        HarnessError, match=f"unknown model family '{family}'; there are: bert, xlm-ro"
    ) as error:
        load_scale(path)
    check_one_line(error)
    assert "pretrain" in str(error.value)


def test_encoder_that_is_only_scored_is_no_teacher_and_not_exported(tmp_path):
    only_scored = [name for name, row in FAMILIES.items() if row.supports == {"score"}]
    assert {name for name, row in FAMILIES.items() if "teacher" not in row.supports} == {*only_scored}
    for family in only_scored:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
        (tmp_path / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
        for refuse in (read_shape, load_teacher, lambda folder: load_source(folder, "mlm")):
            with pytest.raises(HarnessError, match=family) as error:
                refuse(tmp_path)
            check_one_line(error)


@pytest.mark.parametrize("name", OTHERS)
def test_model_that_is_no_encoder_of_the_table_is_refused(name, tmp_path):
    config, message = OTHERS[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    for refuse in (read_shape, load_teacher):
        with pytest.raises(HarnessError, match=message) as error:
            refuse(tmp_path)
        check_one_line(error)


UNSUPPORTED = [
    (family, name, setting.value)
    for family in TEACHERS
    for name, setting in FAMILIES[family].settings.items()
]


@pytest.mark.parametrize(("family", "name", "value"), UNSUPPORTED)
def test_setting_that_is_not_supported_is_refused(family, name, value, tmp_path):
    other = {bool: lambda: not value, int: lambda: value + 1, str: lambda: "none"}[type(value)]()
    folder = write_config(tmp_path, family, **{name: other})
    (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    for refuse in (read_shape, load_teacher):
        with pytest.raises(
            HarnessError, match=f"expected {name} {value}; got {other}; take another"
        ) as error:
            refuse(folder)
        check_one_line(error)


@pytest.mark.parametrize(
    ("family", "step", "message"),
    [
        (
            "modernbert",
            {"shorten": {"layers": "1/2", "keep": "last"}},
            "expected layer 0 kept, .* got layers 2, 3",
        ),
        (
            "modernbert",
            {"shorten": {"layers": "1/4", "keep": [1]}},
            "expected layer 0 kept, .* got layers 1;",
        ),
        (
            "modernbert",
            {"narrow": {"width": "1/2", "basis": "first"}},
            "expected heads: dropped for modernbert",
        ),
        ("electra", {"narrow": {"width": "1/2", "basis": "first"}}, "keeps 12, the width of the embeddings"),
        (
            "distilbert",
            {"trim": {"tokens": 91}},
            "tokens 91 keeps 91; the vocabulary is 90 by now; keep fewer",
        ),
    ],
)
def test_step_beyond_a_familys_limits_is_refused(family, step, message, plan_step, tmp_path):
    changes = {"embedding_size": 12} if family == "electra" else {}
    shape = read_shape(write_config(tmp_path, family, **changes))
    with pytest.raises(HarnessError, match=message) as error:
        plan_step(shape, step)
    check_one_line(error)


def test_every_no_of_the_table_has_a_test():
    tested = {*STEPS, "pretrain", "factorise"}  # factorise: tests/models/surgery/test_embeddings.py
    for name, row in FAMILIES.items():
        if row.supports != {"score"}:
            assert SUPPORTED.keys() - row.supports <= tested, name


@pytest.mark.parametrize("family", TEACHERS)
def test_value_by_family_is_the_relatives_where_the_recipe_has_no_own(family, plan_step, tmp_path):
    step = {"shorten": {"layers": "1/2", "keep": {"bert": "last", "xlm-roberta": "strided"}}}
    shape = read_shape(write_config(tmp_path, family))
    kept = plan_step(shape, step)[0].step.layers
    expected = {"bert": (2, 3), "xlm-roberta": (0, 2)}[FAMILIES[family].values_of or family]
    assert kept == expected
