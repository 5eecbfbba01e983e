"""Model folders that cannot be used: each is refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from harness.errors import HarnessError
from harness.families import TEACHERS
from harness.models.loading.checkpoint import load_checkpoint
from harness.models.loading.folder import open_model_folder


def set_keys(path: Path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drop_head(folder: Path):
    weights = load_file(folder / "model.safetensors")
    body = {name: value for name, value in weights.items() if not name.startswith(("cls.", "lm_head."))}
    save_file(body, folder / "model.safetensors", metadata={"format": "pt"})


def drop_layer(folder: Path):
    weights = load_file(folder / "model.safetensors")
    some = {name: value for name, value in weights.items() if ".layer.1." not in name}
    save_file(some, folder / "model.safetensors", metadata={"format": "pt"})


def pickle_weights(folder: Path):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")


def truncate_weights(folder: Path):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def remove_tokenizer(folder: Path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


BAD = {
    "no folder": (shutil.rmtree, "expected a folder or a hub id; got neither; check the path"),
    "no config": (
        lambda f: (f / "config.json").unlink(),
        "expected config.json; got a folder without it; name",
    ),
    "broken config": (
        lambda f: (f / "config.json").write_text("{"),
        "expected JSON in config.json; got Expecting",
    ),
    "config of a list": (
        lambda f: (f / "config.json").write_text("[]"),
        "expected an object in config.json; got list",
    ),
    "custom code": (
        lambda f: set_keys(f / "config.json", auto_map={"AutoModel": "x.Y"}),
        r"expected a stock model; got custom code \(auto_map\), which is never run",
    ),
    "custom tokenizer": (
        lambda f: set_keys(f / "tokenizer_config.json", auto_map={"AutoTokenizer": ["x.Y", None]}),
        r"got custom code \(auto_map\)",
    ),
    "other family": (
        lambda f: set_keys(f / "config.json", model_type="gpt2"),
        f"expected a model family of {', '.join(TEACHERS)}; got 'gpt2'; choose a model of one of these",
    ),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        r"expected weights \(model.safetensors\); got none",
    ),
    "pickled weights": (
        pickle_weights,
        r"got only pickled weights \(pytorch_model.bin\), which are never read; save the",
    ),
    "broken weights": (truncate_weights, "expected whole weights in model.safetensors; got a broken file"),
    "no tokenizer": (
        remove_tokenizer,
        r"expected a tokenizer \(tokenizer.json, vocab.txt, .*\); got none",
    ),
    "broken tokenizer": (
        lambda f: (f / "tokenizer.json").write_text("{}"),
        "expected a tokenizer that loads; got",
    ),
    "no head": (
        drop_head,
        r"expected weights with an MLM head; got none for '(cls|lm_head)\..*'; use a checkpoint saved from",
    ),
    "a layer missing": (
        drop_layer,
        r"expected every weight of \w+; got none for '.*layer\.1\..*' \(16 missing\)",
    ),
    "other sizes": (
        lambda f: set_keys(f / "config.json", intermediate_size=32),
        "expected weights that fit config.json; got",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folder_is_refused_in_one_line(folder, name):
    damage, message = BAD[name]
    damage(folder)
    with pytest.raises(HarnessError, match=message) as caught:
        load_checkpoint(folder)
    assert str(caught.value).startswith(f"model '{folder}': ")
    assert "\n" not in str(caught.value)


def split_weights(folder: Path) -> None:
    """Store the weights as two files and an index, as large models are."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    parts = {name: f"model-0000{number % 2 + 1}-of-00002.safetensors" for number, name in enumerate(weights)}
    for part in set(parts.values()):
        tensors = {name: weights[name] for name in weights if parts[name] == part}
        save_file(tensors, folder / part, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": parts}))


def test_weights_in_several_files_are_read_by_their_index(encoder, folder):
    split_weights(folder)
    loaded = load_checkpoint(folder).model.state_dict()
    assert all(loaded[name].equal(tensor) for name, tensor in encoder.model.state_dict().items())


def test_missing_part_of_the_weights_is_refused(folder):
    split_weights(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    expected = "expected every file that model.safetensors.index.json lists; got none for 'model-00002-of"
    with pytest.raises(HarnessError, match=expected):
        load_checkpoint(folder)


def test_index_without_weights_is_refused(folder):
    split_weights(folder)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(HarnessError, match=r"expected a weight_map in .*; got none"):
        load_checkpoint(folder)


def test_config_without_model_type_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["model_type"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(HarnessError, match="got no model_type in config"):
        open_model_folder(folder)


def test_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(HarnessError, match="expected the folder of a saved model; got a file"):
        open_model_folder(tmp_path / "file")
    with pytest.raises(HarnessError, match="got nothing there; name the folder that holds"):
        open_model_folder(tmp_path / "none")
