from __future__ import annotations

import json

import pytest

from harness.config import KNOWN_TEACHERS, find_teacher, load_recipe, load_scale
from harness.config.scale import Teacher
from harness.errors import HarnessError
from harness.families import TEACHERS


@pytest.fixture
def recipe():
    return load_recipe("gurgurov2025")


@pytest.fixture
def paper():
    return load_scale("paper")


CONFIG = {
    "model_type": "bert",
    "num_hidden_layers": 3,
    "hidden_size": 12,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 99,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
}


def test_pretrained_teacher_has_shape_of_scale(recipe):
    mini = load_scale("mini")
    assert find_teacher(recipe, mini).shape.hidden == mini.teacher.pretrain.hidden
    assert find_teacher(recipe, mini).published is None


def test_hub_teacher_is_of_recipe_or_scale(recipe, paper):
    assert find_teacher(recipe, paper).published == KNOWN_TEACHERS["mbert"]
    other = paper.model_copy(update={"teacher": Teacher(hub="xlmr")})
    assert find_teacher(recipe, other).shape == KNOWN_TEACHERS["xlmr"].shape


def test_hub_id_that_was_not_looked_up_is_refused(recipe, paper):
    scale = paper.model_copy(update={"teacher": Teacher(hub="organisation/name")})
    with pytest.raises(HarnessError, match="organisation/name: expected its folder in the hub's cache"):
        find_teacher(recipe, scale)


def test_folder_teacher_has_shape_of_config(recipe, paper, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    shape = find_teacher(recipe, paper.with_teacher(str(tmp_path))).shape
    assert (shape.layers, shape.hidden, shape.vocabulary, shape.tied) == (3, 12, 99, True)


def write_teacher(folder, tokens, *, tensors=(), added=()):
    """Write a model folder without weights: the header of its tensors, its tokenizer and its config."""
    (folder / "config.json").write_text(json.dumps(CONFIG))
    vocabulary = {f"token{number}": number for number in range(tokens)}
    added_tokens = [{"id": number, "content": f"token{number}"} for number in added]
    content = {"model": {"vocab": vocabulary}, "added_tokens": added_tokens}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    header = json.dumps({name: {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]} for name in tensors})
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode())


HEAD_TENSOR = "cls.predictions.transform.dense.weight"


@pytest.mark.parametrize(("tensors", "head"), [((HEAD_TENSOR,), True), (("encoder.layer.0",), False)])
def test_folder_teacher_has_a_head_where_its_checkpoint_has_one(recipe, paper, tmp_path, tensors, head):
    write_teacher(tmp_path, 99, tensors=tensors)
    assert find_teacher(recipe, paper.with_teacher(str(tmp_path))).mlm_head is head


def test_folder_teacher_has_a_head_where_its_index_names_one(recipe, paper, tmp_path):
    write_teacher(tmp_path, 99)
    index = {"weight_map": {HEAD_TENSOR: "model-00001-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert find_teacher(recipe, paper.with_teacher(str(tmp_path))).mlm_head


@pytest.mark.parametrize(("added", "vocabulary"), [((), 90), ((3, 90), 91), ((91, 92), 92), ((98,), 91)])
def test_rows_without_a_token_are_not_part_of_the_shape(recipe, paper, tmp_path, added, vocabulary):
    """Added tokens that the model lacks are numbered after its own, whatever the file says."""
    write_teacher(tmp_path, 90, added=added)
    assert find_teacher(recipe, paper.with_teacher(str(tmp_path))).shape.vocabulary == vocabulary


def test_a_tokenizer_with_more_tokens_than_rows_is_refused(recipe, paper, tmp_path):
    write_teacher(tmp_path, 120)
    with pytest.raises(HarnessError, match="for each of the tokenizer's 120 tokens; got 99"):
        find_teacher(recipe, paper.with_teacher(str(tmp_path)))


@pytest.mark.parametrize("text", ["{", "[]", '{"model": 1}', '{"model": {"vocab": 3}}'])
def test_a_tokenizer_file_that_cannot_be_read_is_refused(recipe, paper, tmp_path, text):
    write_teacher(tmp_path, 99)
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(HarnessError, match=r"tokenizer\.json"):
        find_teacher(recipe, paper.with_teacher(str(tmp_path)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected config.json; there is none; name a model's folder"),
        ("{", "config.json is not readable; save the model again"),
        ("[]", "config.json holds no keys and values; save the model again"),
        ("{}", f"unknown model family 'None'; there are: {', '.join(TEACHERS)}."),
        (json.dumps(CONFIG | {"hidden_size": 13}), "config.json: hidden 13 is no multiple of the 2 heads"),
    ],
)
def test_folder_without_model_is_refused(text, message, recipe, paper, tmp_path):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(HarnessError) as caught:
        find_teacher(recipe, paper.with_teacher(str(tmp_path)))
    assert str(caught.value) == f"teacher {tmp_path}: {message}"


def test_missing_folder_is_refused(recipe, paper, tmp_path):
    with pytest.raises(
        HarnessError, match=r"nowhere: expected a folder; there is none; name a model's folder$"
    ):
        find_teacher(recipe, paper.with_teacher(str(tmp_path / "nowhere")))
