"""A tiny model as two graphs, one of each exporter."""

from __future__ import annotations

import pytest

from harness.export.graphs import WAYS, write_graph
from harness.tasks import HEADS


@pytest.fixture(scope="session")
def graphs(tiny, tmp_path_factory):
    """A tiny classifier, and the folder that holds its legacy.onnx and dynamo.onnx."""
    model, _ = tiny("xlm-roberta", HEADS["topic"].suffix, hidden_size=64, vocab_size=600)
    folder = tmp_path_factory.mktemp("graphs")
    inputs = ("input_ids", "attention_mask")
    for way in ("legacy", "dynamo"):
        path = folder / f"{way}.onnx"
        write_graph(model, path, WAYS[way], head=HEADS["topic"], inputs=inputs, max_length=64)
    return model, folder
