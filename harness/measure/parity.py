"""How far an ONNX graph is from the torch model it was exported from.

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
        """Return the graph's inputs."""

    def run(self, output_names: None, input_feed: dict[str, Any]) -> Sequence[Any]:
        """Run the graph."""


@dataclass(frozen=True)
class Parity:
    """How far two models differ over the positions that count.

    Attributes:
        max_abs_delta: largest absolute difference of a logit.
        argmax_agreement: share of positions (of texts, for a sequence head) with the same best class, 0 to 1;
            of labels on the same side of one half, where several may hold; None for a regression.
        num_positions: how many positions were compared.
    """

    max_abs_delta: float
    argmax_agreement: float | None
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
    """Return batches that test a graph: one token, odd lengths, rows padded differently, the full length.

    For a model with several token types, the second half of each row has the last type, as the second text
    of a pair has.

    Invariants: int64; no attended token is the padding token; row 0 of a batch is not padded, later ones are.
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
    """Return the torch model's logits on a batch, or its last hidden state where it has no head."""
    with torch.inference_mode():
        output = model(
            **{name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in batch.items()}
        )
    logits: torch.Tensor = output["logits" if "logits" in output else "last_hidden_state"]
    return np.asarray(logits.float(), dtype=np.float32)


def _keep_attended(logits: NDArray[np.float32], batch: Batch) -> NDArray[np.float32]:
    """Keep the rows that count: attended positions of (B, L, C), every row of (B, C)."""
    if logits.ndim == 3 and "attention_mask" in batch:
        attended: NDArray[np.float32] = logits[batch["attention_mask"].astype(bool)]
        return attended
    return logits.reshape(-1, logits.shape[-1])


def compare_logits(model: torch.nn.Module, session: Session, batches: Iterable[Batch]) -> Parity:
    """Compare a torch model with an ONNX session on encoded batches.

    Invariants: padded positions do not count; a NaN on either side makes the difference infinite.

    Raises:
        HarnessError: no batch, or outputs of other shapes.
    """
    inputs = {one.name for one in session.get_inputs()}
    was_training = model.training
    model.eval()
    problem = getattr(getattr(model, "config", None), "problem_type", None)
    delta, agreed, num_positions = 0.0, 0.0, 0
    for batch in batches:
        expected = reference_logits(model, batch)
        got = session.run(None, {name: value for name, value in batch.items() if name in inputs})[0]
        if expected.shape != got.shape:
            raise HarnessError(
                f"parity: expected logits of shape {expected.shape}; got {got.shape}; export the model again"
            )
        expected_NC, got_NC = _keep_attended(expected, batch), _keep_attended(got, batch)
        worst = float(np.abs(expected_NC - got_NC).max())
        delta = max(delta, float("inf") if np.isnan(worst) else worst)
        if problem == "multi_label_classification":
            agreed += float(((expected_NC > 0) == (got_NC > 0)).mean(-1).sum())
        else:
            agreed += int((expected_NC.argmax(-1) == got_NC.argmax(-1)).sum())
        num_positions += len(expected_NC)
    model.train(was_training)
    if not num_positions:
        raise HarnessError("parity: expected one attended position at least; got none; pass an encoded batch")
    agreement = None if problem == "regression" else agreed / num_positions
    return Parity(delta, agreement, num_positions)
