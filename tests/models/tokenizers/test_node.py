"""Trimmed tokenizers give the same ids in Node, by `@huggingface/transformers`, as in Python.

The package is looked for in ``harness/web/node_modules`` (``make web CHECKS=1`` makes it), or in the folder
that HARNESS_NODE_MODULES names; without it, or without node, the test is skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.deploy.site import WEB
from harness.models.loading.checkpoint import build_model, save_checkpoint
from harness.models.tokenizers import choose_tokens, count_tokens, trim_vocabulary

SCRIPT = Path(__file__).with_name("tokenize.mjs")
SIZES = {"wordpiece": 250, "unigram": 150, "bpe": 320}


@pytest.fixture
def modules():
    folder = Path(os.environ.get("HARNESS_NODE_MODULES", WEB / "node_modules"))
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (folder / "@huggingface" / "transformers").is_dir():
        pytest.skip(f"{folder} has no @huggingface/transformers: run `make web CHECKS=1`")
    return folder.resolve()


def test_ids_are_equal_in_node(modules, request, tmp_path, lines, shape_of):
    texts, expected = [*lines[:12], "漢字 q", "naïve co-op 3.5%"], {}
    for kind, size in SIZES.items():
        tokenizer = request.getfixturevalue(kind)
        shape = shape_of("xlm-roberta" if kind == "unigram" else "bert", len(tokenizer))
        model = build_model(shape, seed=1)
        model.config.pad_token_id = tokenizer.pad_token_id
        trimmed = trim_vocabulary(
            model, tokenizer, choose_tokens(count_tokens(tokenizer, lines[:3]), size, tokenizer)
        )
        save_checkpoint(trimmed.model, trimmed.tokenizer, tmp_path / kind)
        expected[kind] = [trimmed.tokenizer(text).input_ids for text in texts]
    script = tmp_path / SCRIPT.name
    shutil.copy(SCRIPT, script)
    (tmp_path / "node_modules").symlink_to(modules)
    asked = json.dumps({"root": str(tmp_path), "folders": list(SIZES), "texts": texts})
    done = subprocess.run(["node", script], input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected
