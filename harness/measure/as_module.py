"""An ONNX file as a torch module, so that the same code scores both."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from harness.measure.onnx_evaluation import open_session


class OnnxModule(torch.nn.Module):
    """A module whose output is an ONNX file's logits.

    Invariants: inputs that the graph does not take are left out; token types that it takes and that are not
    passed are 0.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        super().__init__()
        self.session = open_session(path, threads=threads)
        self.inputs = [one.name for one in self.session.get_inputs()]
        self.place = torch.nn.Parameter(torch.zeros(0), requires_grad=False)

    def forward(self, **inputs: torch.Tensor) -> SimpleNamespace:
        """Run the file on a batch; return ``logits`` (B, C) or (B, L, C)."""
        ids_BL = inputs["input_ids"]
        every = {"token_type_ids": torch.zeros_like(ids_BL)} | inputs
        feed = {name: np.ascontiguousarray(every[name].numpy(), dtype=np.int64) for name in self.inputs}
        return SimpleNamespace(
            logits=torch.from_numpy(np.asarray(self.session.run(None, feed)[0], np.float32))
        )
