"""What the tests of the ops share: how far a result may lie from the truth, and ways to run an op."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from harness import ops

COMPILED = ops.implementation() == "compiled"


@pytest.fixture
def compiled_only() -> None:
    if not COMPILED:
        pytest.skip(f"needs the compiled extension: {ops.explanation()}")


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Fills every tensor that is allocated without a value with NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


def relative_error(result: Tensor, truth: Tensor) -> float:
    result, truth = result.detach().double(), truth.detach().double()
    norm = float(truth.norm())
    return float((result - truth).norm()) / norm if norm else float(result.norm())


@pytest.fixture
def check_close() -> Callable[..., None]:
    """Gives the check of results against the truth in float64 from the same rounded inputs.

    The kernels must keep the tolerance and be no worse than twice eager PyTorch; the reference, which sums as
    PyTorch does, either.
    """

    def check(results: list[Tensor], truths: list[Tensor], eagers: list[Tensor]) -> None:
        for place, (result, truth, eager) in enumerate(zip(results, truths, eagers, strict=True)):
            low = result.dtype == torch.bfloat16
            mistake, known = relative_error(result, truth), relative_error(eager, truth)
            bound = 4e-3 if low else 1e-6
            if COMPILED:
                allowed = max(bound, 1.25 * known) if low else min(bound, 2 * known + 1.5e-7)
            else:
                allowed = max(bound, 2 * known)
            assert mistake <= allowed, (
                f"result {place}: error {mistake:.2e} > {allowed:.2e}, eager {known:.2e}"
            )

    return check


@pytest.fixture
def run() -> Callable[..., list[Tensor]]:
    """Gives a run of a function: its value and its gradients by the tensors that want one."""

    def run_function(
        function: Callable[[], Tensor], wanted: list[Tensor], upstream: float = 1.0
    ) -> list[Tensor]:
        loss = function()
        grads = torch.autograd.grad(loss, wanted, grad_outputs=torch.full_like(loss, upstream))
        return [loss.detach(), *grads]

    return run_function
