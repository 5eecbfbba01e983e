"""One digest for one model, however often it was saved."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoConfig

from harness.config.digest import canonical

_OF_THE_SAVING = (
    "_name_or_path",
    "dtype",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "torch_dtype",
    "transformers_version",
    "use_cache",
)
_OF_A_CALL = ("padding", "truncation", "version")


def fingerprint(folder: Path) -> str:
    """Gives the SHA-256 of a saved model: its weights by name, its config, its tokenizer.

    Holds: equal for a model and for what `save_pretrained` makes of it again; different where a weight, a
    number of the config or a piece of the tokenizer is.

    Args:
        folder: one that `harness.models.loading.folder.read_config` takes.
    """
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in sorted(file.keys()):
                tensor = file.get_tensor(name).contiguous()
                found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    config = AutoConfig.from_pretrained(folder, local_files_only=True).to_dict()
    found.update(canonical({key: config[key] for key in config if key not in _OF_THE_SAVING}).encode())
    found.update(_tokenizer(folder))
    return found.hexdigest()


def _tokenizer(folder: Path) -> bytes:
    """Gives what decides a segmentation: ``tokenizer.json`` where it is, else the files it is made of."""
    path = folder / "tokenizer.json"
    if path.is_file():
        told = json.loads(path.read_text(encoding="utf-8"))
        return canonical({key: told[key] for key in told if key not in _OF_A_CALL}).encode()
    others = sorted(
        one for one in folder.iterdir() if one.suffix in {".txt", ".model"} or one.name == "vocab.json"
    )
    return b"".join(one.name.encode() + one.read_bytes() for one in others)
