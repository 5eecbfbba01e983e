"""Does an ONNX graph still say what the torch model says?

Shapes: **B** batch, **L** length, **C** classes, **N** positions compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from harness.errors import HarnessError

Batch = Mapping[str, NDArray[np.int64]]


class Session(Protocol):
    """The part of an ``onnxruntime.InferenceSession`` that is used."""

    def get_inputs(self) -> Sequence[Any]:
        """Gives the graph's inputs."""

    def run(self, output_names: None, input_feed: dict[str, Any]) -> Sequence[Any]:
        """Runs the graph."""


@dataclass(frozen=True)
class Parity:
    """How far two models are apart over the positions that count.

    Attributes:
        max_abs_delta: largest absolute difference of a logit.
        argmax_agreement: share of positions (of texts, for a sequence head) with the same best class, 0 to 1.
        num_positions: how many were compared.
    """

    max_abs_delta: float
    argmax_agreement: float
    num_positions: int


def probe_batches(
    inputs: Sequence[str],
    *,
    vocabulary: int,
    pad_id: int,
    max_length: int = 128,
    types: int = 1,
    seed: int = 0,
) -> list[dict[str, NDArray[np.int64]]]:
    """Gives batches that try a graph: one token, odd lengths, rows padded differently, the full length.

    Of a model with several token types, the second half of each row has the last, as a pair's second text.

    What holds: int64; no attended token is the padding token; row 0 of a batch is not padded, later ones are.
    """
    shapes = [(1, 1), (1, 7), (3, 33), (2, max_length)]
    generator = np.random.default_rng(seed)
    known = np.setdiff1d(np.arange(vocabulary), [pad_id])
    batches = []
    for rows, length in ((rows, min(length, max_length)) for rows, length in shapes):
        ids_BL = generator.choice(known, (rows, length)).astype(np.int64)
        lengths_B = [max(1, length - 5 * row) for row in range(rows)]
        mask_BL = (np.arange(length)[None, :] < np.asarray(lengths_B)[:, None]).astype(np.int64)
        ids_BL[mask_BL == 0] = pad_id
        types_BL = (types - 1) * mask_BL * (np.arange(length) >= length // 2)
        every = {"input_ids": ids_BL, "attention_mask": mask_BL, "token_type_ids": types_BL}
        batches.append({name: every[name] for name in inputs})
    return batches


def reference_logits(model: torch.nn.Module, batch: Batch) -> NDArray[np.float32]:
    """Gives what the torch model says of a batch: its logits, or its last hidden state without a head."""
    with torch.inference_mode():
        said = model(**{name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in batch.items()})
    logits: torch.Tensor = said["logits" if "logits" in said else "last_hidden_state"]
    return np.asarray(logits.float(), dtype=np.float32)


def _counted(logits: NDArray[np.float32], batch: Batch) -> NDArray[np.float32]:
    """Keeps the rows that count: attended positions of (B, L, C), every row of (B, C)."""
    if logits.ndim == 3 and "attention_mask" in batch:
        attended: NDArray[np.float32] = logits[batch["attention_mask"].astype(bool)]
        return attended
    return logits.reshape(-1, logits.shape[-1])


def compare(model: torch.nn.Module, session: Session, batches: Iterable[Batch]) -> Parity:
    """Compares a torch model with an ONNX session on encoded batches.

    What holds: padded positions do not count; a NaN on either side makes the difference infinite.

    Raises:
        HarnessError: no batch, or outputs of other shapes.
    """
    taken = {one.name for one in session.get_inputs()}
    was_training = model.training
    model.eval()
    delta, agreed, num_positions = 0.0, 0, 0
    for batch in batches:
        want = reference_logits(model, batch)
        got = session.run(None, {name: value for name, value in batch.items() if name in taken})[0]
        if want.shape != got.shape:
            raise HarnessError(
                f"parity: wanted logits of shape {want.shape}; got {got.shape}; export the model again"
            )
        want_NC, got_NC = _counted(want, batch), _counted(got, batch)
        worst = float(np.abs(want_NC - got_NC).max())
        delta = max(delta, float("inf") if np.isnan(worst) else worst)
        agreed += int((want_NC.argmax(-1) == got_NC.argmax(-1)).sum())
        num_positions += len(want_NC)
    model.train(was_training)
    if not num_positions:
        raise HarnessError("parity: wanted one attended position at least; got none; give an encoded batch")
    return Parity(delta, agreed / num_positions, num_positions)
