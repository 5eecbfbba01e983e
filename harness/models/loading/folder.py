"""The folder of a saved model, checked before any of it is used: `open_model_folder`.

No weight is unpickled and no code of a model is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers.utils import logging

from harness.errors import HarnessError
from harness.models.loading.untrusted import list_refusals
from harness.paths import is_relative_name

WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")
_PICKLES = (".bin", ".pt", ".pth")
_LONGEST_REASON = 200


@dataclass(frozen=True)
class ModelFolder:
    """A folder that holds a stock transformers model with whole safetensors.

    Attributes:
        path: the folder.
        name: what the user called it: the folder, or a hub id.
        config: the keys and values of its ``config.json``.
    """

    path: Path
    name: str
    config: Mapping[str, Any]

    @property
    def model_type(self) -> str:
        """The family, as ``config.json`` calls it."""
        return str(self.config["model_type"])

    def error(self, expected: str, got: str, advice: str) -> HarnessError:
        """Return the error that says why this folder cannot be used."""
        return model_error(self.name, expected, got, advice)


def model_error(name: str, expected: str, got: str, advice: str) -> HarnessError:
    """Return the error that says why the model of this name cannot be used."""
    return HarnessError(escape_text(f"model '{name}': expected {expected}; got {got}; {advice}"))


def escape_text(text: str) -> str:
    """Return a text with escapes in place of line breaks and of other characters that cannot be printed."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def open_model_folder(path: Path, name: str | None = None) -> ModelFolder:
    """Check a folder's configuration and weights, and return it with its configuration.

    Args:
        path: the folder.
        name: what messages call it; without one, its path.

    Raises:
        HarnessError: no such folder; ``config.json`` is missing, is no JSON object, names no architecture or
            asks for custom code; safetensors are missing or broken.
    """
    name = str(path) if name is None else name
    if not path.is_dir():
        got = "a file" if path.exists() else "nothing there"
        raise model_error(name, "the folder of a saved model", got, "name the folder that holds config.json")
    folder = ModelFolder(path, name, _read_settings(path / "config.json", name))
    _check_stock(folder)
    for file in find_weight_files(folder):
        _check_safetensors(folder, file)
    return folder


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing progress bars and from listing the weights it leaves out."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def summarize_error(error: Exception) -> str:
    """Return the text of a library's error on one line, cut where it is long."""
    return " ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__


def _read_settings(path: Path, name: str) -> dict[str, Any]:
    if not path.is_file():
        raise model_error(name, path.name, "a folder without it", "name the folder of a saved model")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_build_object)
    except (ValueError, OSError, RecursionError) as error:
        reason = summarize_error(error)
        raise model_error(name, f"JSON in {path.name}", reason, "save the model again") from error
    if not isinstance(settings, dict):
        got = type(settings).__name__
        raise model_error(name, f"an object in {path.name}", got, "save the model again")
    return settings


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; two values for one key would hide the first."""
    built: dict[str, Any] = {}
    for key, value in pairs:
        if key in built and built[key] != value:
            raise ValueError(f"two values for the key '{key}'")
        built[key] = value
    return built


def _check_stock(folder: ModelFolder) -> None:
    tokenizer = folder.path / "tokenizer_config.json"
    tokenizer_settings = _read_settings(tokenizer, folder.name) if tokenizer.is_file() else {}
    for refusal in list_refusals(folder.path, folder.config, tokenizer_settings):
        raise folder.error(*refusal)
    if (folder.path / "adapter_config.json").is_file():
        got = "an adapter (adapter_config.json)"
        raise folder.error("a whole model", got, "merge the adapter into its model, and save that")
    if "model_type" not in folder.config:
        raise folder.error("a stock model", "no model_type in config.json", "save the model again")
    if not isinstance(folder.config["model_type"], str):
        got = type(folder.config["model_type"]).__name__
        raise folder.error("a name as model_type in config.json", got, "save the model again")


def find_weight_files(folder: ModelFolder) -> list[Path]:
    """Return the safetensors that hold the weights: one file, or the parts that an index lists."""
    whole, index = (folder.path / file for file in WEIGHT_FILES)
    if whole.is_file():
        return [whole]
    if not index.is_file():
        pickles = sorted(file.name for file in folder.path.iterdir() if file.suffix in _PICKLES)
        got = f"only pickled weights ({pickles[0]}), which are never read" if pickles else "none"
        raise folder.error("weights (model.safetensors)", got, "save the model as safetensors")
    parts = _read_settings(index, folder.name).get("weight_map")
    if not isinstance(parts, dict) or not parts:
        raise folder.error(f"a weight_map in {index.name}", "none", "save the model again")
    names = sorted({*map(str, parts.values())})
    for name in names:
        if not (is_relative_name(name) and "/" not in name and name.endswith(".safetensors")):
            expected = f"safetensors of the folder in {index.name}"
            raise folder.error(
                expected, f"{name!r:.100}, which is never read", "save the model as safetensors"
            )
    files = [folder.path / name for name in names]
    for file in files:
        if not file.is_file():
            raise folder.error(
                f"every file that {index.name} lists", f"none for '{file.name}'", "fetch it again"
            )
    return files


def _check_safetensors(folder: ModelFolder, path: Path) -> None:
    try:
        with safe_open(path, framework="pt") as file:
            file.keys()
    except Exception as error:  # a class of its own, or an OSError
        got = f"a broken file ({summarize_error(error)})"
        raise folder.error(f"whole weights in {path.name}", got, "fetch or save it again") from error
