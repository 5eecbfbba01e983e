"""Distil a static embedding for each token of a model: a baseline that knows words but no context."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

from harness.models.loading.encoder import load_encoder, load_task_tokenizer
from harness.models.loading.folder import open_model_folder
from harness.models.loading.tokenizer_json import save_tokenizer
from harness.models.static_embeddings import distil_static
from harness.stages.io.artifacts import STATIC_FILE, find_model_folder
from harness.stages.io.facts import SizeFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

WIDTH = 256


def run(context: Context) -> SizeFacts:
    """Write ``static.safetensors`` and the tokenizer whose ids number its rows."""
    folder = open_model_folder(find_model_folder(context))
    tokenizer = load_task_tokenizer(folder)
    vectors_VD = distil_static(load_encoder(folder), tokenizer, WIDTH).astype(np.float16)
    path = context.out / STATIC_FILE
    save_file({"vectors_VD": vectors_VD}, path)
    save_tokenizer(tokenizer, context.out)
    return SizeFacts(parameters={"embeddings": int(vectors_VD.size)}, size_bytes=path.stat().st_size)
