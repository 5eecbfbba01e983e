"""Encoders and their tokenizers: built fresh, read from a folder or the hub, written for the stock classes.

Nothing is unpickled, no code of a checkpoint is run, and no missing weight is made up.
"""

from __future__ import annotations

import errno
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.initialization import no_init_weights
from transformers.utils import logging

from harness.config.shape import Shape
from harness.errors import HarnessError
from harness.models.families.layout import FamilyLayout
from harness.models.families.table import CONFIG_KEYS, LAYOUTS, is_tied
from harness.models.loading.backend import bare_backend

_BERT_SPREAD, _BERT_WIDTH = 0.02, 768
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "sentencepiece.bpe.model")
_TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json")
_FETCHED = ("config.json", "*.safetensors*", *_TOKENIZER_FILES, *_TOKENIZER_SETTINGS)


class Checkpoint(NamedTuple):
    """An encoder with its MLM head, and the tokenizer whose ids its embedding rows are."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def build_model(shape: Shape, seed: int) -> PreTrainedModel:
    """Gives a masked-language model of a shape with random weights; the same seed gives the same weights.

    Weights have BERT's standard deviation of 0.02 at BERT's width of 768, and more in narrower models in
    proportion to 1/√width: the sums that a layer forms then spread as far as BERT's, whereas 0.02 throughout
    leaves the attention of a thin model even, and its training on a plateau.

    Raises:
        HarnessError: the shape's family is not in the table.
    """
    family = _family(shape.family, f"a fresh {shape.family}")
    sizes = {key: getattr(shape, name) for name, key in CONFIG_KEYS.items()}
    spread = _BERT_SPREAD * math.sqrt(_BERT_WIDTH / shape.hidden)
    config = family.config_class(**sizes, **family.fixed, initializer_range=spread)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return family.model_class(config).eval()


def assemble_model(family: FamilyLayout, config: Any, tensors: Mapping[str, torch.Tensor]) -> PreTrainedModel:
    """Gives the stock model that holds these tensors, without drawing random weights first.

    Holds: every parameter is one of ``tensors``, or tied to one by the configuration; nothing is copied.

    Raises:
        HarnessError: a tensor is missing.
    """
    with no_init_weights():
        model = family.model_class(config)
    tied: dict[str, str] = model.all_tied_weights_keys
    sources = {tied.get(name, name): tensor for name, tensor in tensors.items()}
    faults = model.load_state_dict(sources, strict=False, assign=True)
    absent = sorted({*faults.missing_keys} - {*tied}) + sorted(faults.unexpected_keys)
    if absent:
        raise HarnessError(f"model {family.model_type}: wanted exactly its tensors; differs in '{absent[0]}'")
    model.tie_weights()
    return model.eval()


def load_checkpoint(source: str | Path, revision: str | None = None) -> Checkpoint:
    """Reads an encoder and its tokenizer from a folder, or from the hub at a pinned revision.

    Holds: float32 weights, evaluation mode, one embedding row per token id.

    Args:
        source: a folder, or a hub id ``organisation/name``.
        revision: the commit (or tag) of a hub id; a folder has none.

    Raises:
        HarnessError: one line for whatever is missing or unfit.
    """
    folder = locate_model(source, revision)
    family = _check_files(folder, str(source))
    model = _load_model(family, folder, str(source))
    tokenizer = _load_tokenizer(folder, str(source))
    check_match(model, tokenizer, str(source))
    return Checkpoint(model, tokenizer)


def save_checkpoint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str | Path) -> None:
    """Writes ``model.safetensors``, ``config.json`` and the tokenizer's files for the ``Auto`` classes."""
    check_match(model, tokenizer, "save")
    bare_backend(tokenizer)
    with quiet():
        model.save_pretrained(path)
    tokenizer.save_pretrained(path)


def locate_model(source: str | Path, revision: str | None = None) -> Path:
    """Gives the local folder of a source, fetching a hub id's files (never pickles) when need be.

    Raises:
        HarnessError: no such folder, no revision for a hub id, or a hub that does not have it.
    """
    folder, where = Path(source), str(source)
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(where):
        raise _refusal(where, "a folder or a hub id", "neither", "check the path")
    if revision is None:
        advice = "check the path, or pin the hub id to a commit"
        raise _refusal(
            where, "a folder, or a hub id with its revision", "no such folder and no revision", advice
        )
    return _cached(where, revision) or _fetched(where, revision)


def _cached(hub_id: str, revision: str) -> Path | None:
    """Gives the snapshot of the cache when it holds weights; a pinned commit never changes."""
    try:
        folder = Path(
            snapshot_download(hub_id, revision=revision, allow_patterns=list(_FETCHED), local_files_only=True)
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return folder if any((folder / name).is_file() for name in _WEIGHT_FILES) else None


def _fetched(hub_id: str, revision: str) -> Path:
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(_FETCHED)))
    except Exception as error:  # the hub's client raises whatever its transport raises
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        advice = "check the name, the revision and the network, or name a local folder"
        wanted = f"revision {revision} from the hub or its cache"
        raise _refusal(hub_id, wanted, type(error).__name__, advice) from error


def check_match(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, where: str) -> None:
    """Refuses a tokenizer whose ids are not exactly the embedding rows of the model."""
    rows = model.get_input_embeddings().num_embeddings
    ids = set(tokenizer.get_vocab().values())
    if ids != set(range(rows)):
        wanted = f"a tokenizer with one id for each of the {rows:,} embedding rows"
        got = f"{len(ids):,} ids up to {max(ids, default=-1):,}"
        raise _refusal(where, wanted, got, "use the tokenizer the model was trained with")


def _refusal(where: str, wanted: str, got: str, advice: str) -> HarnessError:
    return HarnessError(f"checkpoint '{where}': wanted {wanted}; got {got}; {advice}")


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers from drawing bars and listing the heads it leaves out."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _read_json(path: Path, where: str) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _refusal(where, f"JSON in {path.name}", _reason(error), "fetch it again") from error
    if not isinstance(settings, dict):
        raise _refusal(where, f"an object in {path.name}", type(settings).__name__, "fetch it again")
    return settings


def _family(name: str, where: str) -> FamilyLayout:
    if name not in LAYOUTS:
        raise _refusal(where, f"a model family of {', '.join(LAYOUTS)}", f"'{name}'", "choose one of these")
    return LAYOUTS[name]


def _check_files(folder: Path, where: str) -> FamilyLayout:
    if not (folder / "config.json").is_file():
        raise _refusal(where, "config.json", "none", "name the folder of a saved model")
    settings = _read_json(folder / "config.json", where)
    beside = folder / "tokenizer_config.json"
    if "auto_map" in settings or (beside.is_file() and "auto_map" in _read_json(beside, where)):
        advice = "convert it to a stock class"
        raise _refusal(where, "a stock model", "custom code (auto_map), which is never run", advice)
    family = _family(str(settings.get("model_type")), where)
    _check_weights(folder, where)
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        wanted = f"a tokenizer ({', '.join(_TOKENIZER_FILES)})"
        raise _refusal(where, wanted, "none", "save the tokenizer beside the model")
    return family


def _check_weights(folder: Path, where: str) -> None:
    if not any((folder / name).is_file() for name in _WEIGHT_FILES):
        pickles = sorted(one.name for one in folder.iterdir() if one.suffix in {".bin", ".pt", ".pth"})
        got = f"only pickled weights ({pickles[0]}), which are never read" if pickles else "none"
        advice = "save the model as safetensors" if pickles else "fetch or train them"
        raise _refusal(where, "weights (model.safetensors)", got, advice)
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                file.keys()
        except (SafetensorError, OSError) as error:
            got = f"a broken file ({_reason(error)})"
            raise _refusal(
                where, f"whole weights in {path.name}", got, "fetch or train them again"
            ) from error


def _load_model(family: FamilyLayout, folder: Path, where: str) -> PreTrainedModel:
    try:
        with quiet():
            model, faults = family.model_class.from_pretrained(
                folder,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                local_files_only=True,
            )
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise _refusal(
            where, "weights that fit config.json", _reason(error), "fetch or train it again"
        ) from error
    _check_missing(family, faults["missing_keys"], where)
    model.config.tie_word_embeddings = is_tied(model)
    return model.eval()


def _check_missing(family: FamilyLayout, missing: Iterable[str], where: str) -> None:
    absent = sorted(missing)
    heads = [name for name in absent if family.locate(name)[0] == "mlm_head"]
    stock = family.model_class.__name__
    if heads:
        advice = f"use a checkpoint saved from {stock}"
        raise _refusal(where, "weights with an MLM head", f"none for '{heads[0]}'", advice)
    if absent:
        got = f"none for '{absent[0]}' ({len(absent)} missing)"
        raise _refusal(where, f"every weight of {stock}", got, "fetch or train it again")


def _load_tokenizer(folder: Path, where: str) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers raise whatever their Rust side raised
        raise _refusal(where, "a tokenizer that loads", _reason(error), "save the tokenizer again") from error
