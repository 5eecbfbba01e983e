"""A digest of a saved model that does not change when the model is saved again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoConfig

from harness.config.digest import canonical

_SAVING_KEYS = (
    "_name_or_path",
    "dtype",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "torch_dtype",
    "transformers_version",
    "use_cache",
)
_CALL_KEYS = ("padding", "truncation", "version")


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of a saved model: its weights by name, its config, its tokenizer.

    Invariants: equal for a model and its copy by `save_pretrained`; different where a weight, a number of the
    config or a piece of the tokenizer differs.

    Args:
        folder: a folder that `harness.models.loading.folder.open_model_folder` accepts.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in sorted(file.keys()):
                tensor = file.get_tensor(name).contiguous()
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    config = AutoConfig.from_pretrained(folder, local_files_only=True).to_dict()
    digest.update(canonical({key: config[key] for key in config if key not in _SAVING_KEYS}).encode())
    digest.update(_read_tokenizer(folder))
    return digest.hexdigest()


def _read_tokenizer(folder: Path) -> bytes:
    """Return the bytes that decide a segmentation: of ``tokenizer.json``, or else of the vocabulary files."""
    path = folder / "tokenizer.json"
    if path.is_file():
        settings = json.loads(path.read_text(encoding="utf-8"))
        return canonical({key: settings[key] for key in settings if key not in _CALL_KEYS}).encode()
    files = sorted(
        path for path in folder.iterdir() if path.suffix in {".txt", ".model"} or path.name == "vocab.json"
    )
    return b"".join(path.name.encode() + path.read_bytes() for path in files)
