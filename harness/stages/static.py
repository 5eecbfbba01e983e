"""Distils a static embedding for each token from a model: the baseline that knows words and no context."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

from harness.models.loading.encoder import load_encoder, load_task_tokenizer
from harness.models.loading.folder import open_model_folder
from harness.models.static_embeddings import distil_static
from harness.stages.io.artifacts import STATIC_FILE, model_folder

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

WIDTH = 256


def run(context: Context) -> None:
    """Writes ``static.safetensors`` and the tokenizer whose ids its rows are."""
    folder = open_model_folder(model_folder(context))
    tokenizer = load_task_tokenizer(folder)
    vectors_VD = distil_static(load_encoder(folder), tokenizer, WIDTH).astype(np.float16)
    save_file({"vectors_VD": vectors_VD}, context.out / STATIC_FILE)
    tokenizer.save_pretrained(context.out)
    context.facts["parameters"] = {"embeddings": int(vectors_VD.size)}
    context.facts["size_bytes"] = (context.out / STATIC_FILE).stat().st_size
