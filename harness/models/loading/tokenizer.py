"""The tokenizer of a model folder, and checks that it fits the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from harness.errors import HarnessError
from harness.models.loading.folder import ModelFolder, summarize_error
from harness.models.loading.settings import load_config
from harness.models.loading.tokenizer_json import read_tokenizer

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "vocab.json",
)
"""A tokenizer is read from the first of these that its folder has."""

_TASK_TOKENS = {
    "start": ("cls", "bos"),
    "end": ("sep", "eos"),
    "padding": ("pad",),
    "unknown": ("unk",),
}
"""The special tokens that fine-tuning needs, by the roles of a tokenizer that may serve."""


def load_tokenizer(folder: ModelFolder) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model folder: a fast one, which says which word a sub-word belongs to.

    Raises:
        HarnessError: the folder has no tokenizer, one that does not load, or a slow one.
    """
    has_file = any((folder.path / file).is_file() for file in TOKENIZER_FILES)
    missing = folder.error(
        f"a tokenizer ({', '.join(TOKENIZER_FILES)})", "none", "save the tokenizer in the model's folder"
    )
    config = load_config(folder)  # transformers would read the file by itself, switches and labels included
    try:
        tokenizer = read_tokenizer(folder.path, config)
    except Exception as error:  # the tokenizers raise whatever their Rust side raised
        reason = summarize_error(error)
        broken = folder.error("a tokenizer that loads", reason, "save the tokenizer again")
        raise (broken if has_file else missing) from error
    if not tokenizer.is_fast:
        got = f"{type(tokenizer).__name__}, a slow one, which does not say which word a sub-word belongs to"
        raise folder.error("a fast tokenizer (tokenizer.json)", got, "convert it with transformers")
    if not has_file:
        raise missing
    return tokenizer


def check_ids_match_rows(model: Any, tokenizer: PreTrainedTokenizerBase, where: str) -> None:
    """Refuse a tokenizer whose ids are not exactly the embedding rows of the model.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        where: how the message begins.
    """
    rows = model.get_input_embeddings().num_embeddings
    ids = set(tokenizer.get_vocab().values())
    if ids != set(range(rows)):
        raise HarnessError(
            f"{where}: expected a tokenizer with one id for each of the {rows:,} embedding rows; got "
            f"{len(ids):,} ids up to {max(ids, default=-1):,}; use the tokenizer the model was trained with"
        )


def check_ids_have_rows(folder: ModelFolder, tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Refuse a tokenizer with an id beyond the model's embedding rows."""
    last = count_ids(tokenizer)
    if last > rows:
        expected, got = f"a tokenizer of at most {rows:,} ids", f"{last:,}"
        raise folder.error(expected, got, "use the tokenizer the model was trained with")


def count_ids(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the number of ids up to the last, those that no token has included."""
    return 1 + max(tokenizer.get_vocab().values(), default=-1)


def check_task_tokens(folder: ModelFolder, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer without a special token that fine-tuning needs."""
    lacking = [purpose for purpose, roles in _TASK_TOKENS.items() if not _has_token(tokenizer, roles)]
    if lacking:
        expected = f"tokens for {', '.join(_TASK_TOKENS)}"
        raise folder.error(expected, f"none for {lacking[0]}", "set it in tokenizer_config.json")


def _has_token(tokenizer: PreTrainedTokenizerBase, roles: Sequence[str]) -> bool:
    return any(getattr(tokenizer, f"{role}_token_id") is not None for role in roles)
