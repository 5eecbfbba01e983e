"""An ONNX file in the place of a torch model, so that both are scored by the same code."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from harness.measure.onnx_evaluation import open_session


class OnnxModule(torch.nn.Module):
    """A module that answers with an ONNX file's logits.

    What holds: inputs that the graph does not take are left out; token types that it wants and that are not
    given are 0.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        super().__init__()
        self.session = open_session(path, threads=threads)
        self.taken = [one.name for one in self.session.get_inputs()]
        self.place = torch.nn.Parameter(torch.zeros(0), requires_grad=False)

    def forward(self, **given: torch.Tensor) -> SimpleNamespace:
        """Runs the file on a batch; gives ``logits`` (B, C) or (B, L, C)."""
        ids_BL = given["input_ids"]
        every = {"token_type_ids": torch.zeros_like(ids_BL)} | given
        feed = {name: np.ascontiguousarray(every[name].numpy(), dtype=np.int64) for name in self.taken}
        return SimpleNamespace(
            logits=torch.from_numpy(np.asarray(self.session.run(None, feed)[0], np.float32))
        )
