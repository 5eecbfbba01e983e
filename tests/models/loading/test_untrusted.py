"""A model folder of a stranger: no way out of it, nothing fetched, nothing unpickled, no absurd size."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import HarnessError
from harness.models.loading.checkpoint import load_checkpoint
from harness.models.loading.folder import open_model_folder

pytestmark = pytest.mark.parametrize("encoder", [("bert", True)], indirect=True, ids=str, scope="session")


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def set_keys(path: Path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def index(folder: Path, name: str):
    """Let the index name a file for every tensor."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "dummy.safetensors")
    content = {"metadata": {}, "weight_map": dict.fromkeys(weights, name)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))
    return weights


def name_a_pickle(folder: Path):
    torch.save(index(folder, "pytorch_model.bin"), folder / "pytorch_model.bin")


def name_a_payload(folder: Path):
    index(folder, "pytorch_model.bin")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(folder.parent / "mark")))


def name_a_file_outside(folder: Path):
    save_file(index(folder, "../outside.safetensors"), folder.parent / "outside.safetensors")


def name_an_absolute_file(folder: Path):
    save_file(
        index(folder, str(folder.parent / "outside.safetensors")), folder.parent / "outside.safetensors"
    )


def link_weights(folder: Path):
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    (folder / "model.safetensors").symlink_to(folder.parent / "outside.safetensors")


def link_tokenizer(folder: Path):
    (folder / "tokenizer.json").rename(folder.parent / "tokenizer.json")
    (folder / "tokenizer.json").symlink_to("../tokenizer.json")


def name_a_vocabulary_outside(folder: Path):
    (folder.parent / "secret").write_text("secret")
    set_keys(folder / "tokenizer_config.json", vocab_file=str(folder.parent / "secret"))


def nest_deep(folder: Path):
    value: object = 1
    for _ in range(500):
        value = {"a": value}
    set_keys(folder / "config.json", more=value)


def set_nan(folder: Path):
    weights = load_file(folder / "model.safetensors")
    name = next(one for one in weights if "word_embeddings" in one or "tok_embeddings" in one)
    weights[name][0, 0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def give_huge_id(folder):
    spec = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = spec["model"]["vocab"]
    vocabulary[next(reversed(vocabulary))] = 2**31
    (folder / "tokenizer.json").write_text(json.dumps(spec))


REFUSED = {
    "a pickle through the index": (name_a_pickle, "got 'pytorch_model.bin', which is never read"),
    "a payload through the index": (name_a_payload, "got 'pytorch_model.bin', which is never read"),
    "weights outside": (name_a_file_outside, "got '../outside.safetensors', which is never read"),
    "weights by absolute path": (name_an_absolute_file, "outside.safetensors', which is never read"),
    "a link to weights outside": (link_weights, "got 'model.safetensors', a link out of it; copy the file"),
    "a link to a tokenizer outside": (link_tokenizer, "got 'tokenizer.json', a link out of it"),
    "a vocabulary outside": (name_a_vocabulary_outside, "got vocab_file '.*, outside of it; remove"),
    "an adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), "got an adapter"),
    "attention of the hub": (
        lambda f: set_keys(f / "config.json", attn_implementation="org/kernel"),
        "got attn_implementation 'org/kernel', which would be fetched and run; remove the key",
    ),
    "attention of the hub by its inner key": (
        lambda f: set_keys(f / "config.json", _attn_implementation={"": "org/kernel@main:fn"}),
        "got _attn_implementation .* which would be fetched and run",
    ),
    "kernels": (lambda f: set_keys(f / "config.json", use_kernels=True), r"custom code \(use_kernels\)"),
    "too many labels": (
        lambda f: set_keys(f / "config.json", num_labels=10**9),
        "expected num_labels of at most 1,048,576",
    ),
    "no layers": (
        lambda f: set_keys(f / "config.json", num_hidden_layers=0),
        "expected a positive number in config.json; got .num_hidden_layers.: 0",
    ),
    "fewer layers than none": (
        lambda f: set_keys(f / "config.json", num_hidden_layers=-1),
        "expected a positive number in config.json; got .num_hidden_layers.: -1",
    ),
    "millions of layers": (
        lambda f: set_keys(f / "config.json", num_hidden_layers=10**7),
        "expected num_hidden_layers of at most 1,000 in config.json; got 10000000",
    ),
    "text for a number": (lambda f: set_keys(f / "config.json", hidden_size="64"), "hidden_size.*64"),
    "a number of many digits": (
        lambda f: set_keys(f / "config.json", vocab_size=10**400),
        "got a larger number",
    ),
    "deep nesting": (nest_deep, "expected a config.json of at most 20 levels; got a deeper one"),
    "a token with a huge id": (give_huge_id, r"token '.+' has the id 2147483648, above 10000000"),
    "weights that are no numbers": (
        set_nan,
        "expected weights that are numbers; got infinite ones or NaN in",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_folder_of_a_stranger_is_refused(folder, name):
    damage, message = REFUSED[name]
    damage(folder)
    began_s = time.monotonic()
    with pytest.raises(HarnessError, match=message) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began_s < 5
    assert not (folder.parent / "mark").exists()


def test_links_of_the_hubs_cache_are_followed(encoder, folder, tmp_path):
    snapshot = tmp_path / "models--lab--model" / "snapshots" / "0123"
    blobs = tmp_path / "models--lab--model" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in folder.iterdir():
        path.rename(blobs / path.name)
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert open_model_folder(snapshot).model_type == encoder.shape.family
    load_checkpoint(snapshot)


def test_links_within_a_folder_are_followed(folder):
    (folder / "model.safetensors").rename(folder / "weights")
    (folder / "model.safetensors").symlink_to("weights")
    load_checkpoint(folder)


def test_stale_path_of_a_tokenizer_does_no_harm(folder):
    """Published models carry the paths of the machine that saved them."""
    set_keys(folder / "tokenizer_config.json", special_tokens_map_file="/root/.cache/none/special.json")
    load_checkpoint(folder)
