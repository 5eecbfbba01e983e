"""Fixtures of the ops' tests: bounds on errors, and ways to run, check and misuse an op."""

from __future__ import annotations

import importlib
import os
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.library import opcheck

from harness import ops
from harness.errors import HarnessError

COMPILED = ops.implementation() == "compiled"


@pytest.fixture(autouse=True)
def kernels_at_small_shapes(monkeypatch) -> None:
    """Run the kernels at the small shapes of tests too, where the ops choose the reference."""
    for name, limit in (("linear_cross_entropy", "_FEW_LOGITS"), ("linear_gelu_linear", "_FEW_ACTIVATIONS")):
        monkeypatch.setattr(importlib.import_module(f"harness.ops.{name}"), limit, 0)


@pytest.fixture
def compiled_only() -> None:
    if not COMPILED:
        pytest.skip(f"needs the compiled extension: {ops.explanation()}")


@pytest.fixture
def poisoned() -> Iterator[None]:
    """Fill every tensor that is allocated without a value with NaN."""
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
    """Check results against the truth in float64 from the same rounded inputs.

    The kernels must keep the tolerance and have at most twice the error of eager PyTorch; the reference,
    which sums as PyTorch does, must do one or the other.
    """

    def check(results: list[Tensor], truths: list[Tensor], eagers: list[Tensor]) -> None:
        for place, (result, truth, eager) in enumerate(zip(results, truths, eagers, strict=True)):
            low = result.dtype == torch.bfloat16
            error, eager_error = relative_error(result, truth), relative_error(eager, truth)
            bound = 4e-3 if low else 1e-6
            if COMPILED:
                allowed = max(bound, 1.25 * eager_error) if low else min(bound, 2 * eager_error + 1.5e-7)
            else:
                allowed = max(bound, 2 * eager_error)
            assert error <= allowed, (
                f"result {place}: error {error:.2e} > {allowed:.2e}, eager {eager_error:.2e}"
            )

    return check


@pytest.fixture
def run() -> Callable[..., list[Tensor]]:
    """Run a function; return its value and its gradients by some tensors."""

    def run_function(
        function: Callable[[], Tensor], tensors: list[Tensor], upstream: float = 1.0
    ) -> list[Tensor]:
        loss = function()
        grads = torch.autograd.grad(loss, tensors, grad_outputs=torch.full_like(loss, upstream))
        return [loss.detach(), *grads]

    return run_function


@pytest.fixture
def check_kernel(compiled_only) -> Callable[..., None]:
    """Check that the schema, the fake kernel and the autograd of a registered op agree with its kernel."""

    def check(name: str, *arguments: Any) -> None:
        opcheck(getattr(torch.ops.harness, name).default, arguments)

    return check


@pytest.fixture
def check_compile() -> Callable[..., None]:
    """Check that torch.compile makes one graph of a function of one tensor, with equal value and gradient."""

    def check(function: Callable[[Tensor], Tensor], tensor: Tensor) -> None:
        tensor.requires_grad_()
        expected = function(tensor)
        (expected_grad,) = torch.autograd.grad(expected, tensor)
        value = torch.compile(function, fullgraph=True, backend="aot_eager")(tensor)
        (grad,) = torch.autograd.grad(value, tensor)
        assert torch.allclose(value, expected, rtol=1e-6)
        assert torch.allclose(grad, expected_grad, rtol=1e-5, atol=1e-7)

    return check


@pytest.fixture
def check_refusal() -> Callable[..., None]:
    """Check the whole message with which a function refuses changed arguments."""

    def check(
        function: Callable[..., object], given: Mapping[str, Any], changed: Mapping[str, Any], message: str
    ) -> None:
        with pytest.raises(HarnessError) as caught:
            function(**{**given, **changed})
        assert str(caught.value) == f"{function.__name__}: {message}"
        assert "\n" not in str(caught.value)

    return check


def hostile_values() -> list[Any]:
    """Return values of many types, sizes, layouts and devices, most of which no op accepts."""
    numbers = [0, 1, -1, 3, 2**63, -(2**63), 10**400, 10**5000, 0.0, -0.5, 1e-30, 1e300]
    numbers += [float("inf"), float("nan"), np.float32(1), np.int64(2), np.bool_(True), 1j]
    things = [None, True, False, "", "mse", "forward_kl", b"x", object(), len, nn.Linear(2, 3), torch.float32]
    containers = [[], (), {}, [1.0], [None], [[1.0]], [torch.ones(2, 3)], (0.5, 0.5), {"a": 1}, range(3)]
    shapes = [(), (0,), (3,), (2, 3), (0, 3), (2, 0), (2, 3, 4)]
    dtypes = [torch.int64, torch.bool, torch.int8, torch.float16, torch.bfloat16, torch.float64, torch.cfloat]
    tensors = [torch.ones(shape) for shape in shapes] + [torch.ones(2, 3, dtype=dtype) for dtype in dtypes]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # layouts that PyTorch calls prototypes
        layouts = [
            torch.ones(1).expand(2, 3),
            torch.ones(2, 3, device="meta"),
            torch.ones(2, 3).to_sparse(),
            torch.ones(2, 3).to_sparse_csr(),
            torch.quantize_per_tensor(torch.ones(2, 3), 0.1, 0, torch.qint8),
            torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
            np.ones((2, 3)),
        ]
    return [*numbers, *things, *containers, *tensors, *layouts]


CHANGES: list[Callable[[Tensor], Any]] = [
    lambda tensor: tensor.to("meta"),
    lambda tensor: tensor.double(),
    lambda tensor: tensor.bfloat16(),
    lambda tensor: tensor.half(),
    lambda tensor: tensor.long(),
    lambda tensor: tensor.bool(),
    lambda tensor: tensor.detach().to_sparse(),
    lambda tensor: tensor.detach().to_mkldnn() if tensor.dtype == torch.float32 else tensor,
    lambda tensor: tensor[:0],
    lambda tensor: tensor[..., :0],
    lambda tensor: tensor[:1],
    lambda tensor: tensor[None],
    lambda tensor: tensor.flatten(),
    lambda tensor: tensor.T if tensor.dim() == 2 else tensor,
    lambda tensor: tensor[..., ::2],
    lambda tensor: tensor[:1].expand_as(tensor),
    lambda tensor: tensor.detach() * float("nan"),
    lambda tensor: torch.cat([tensor, tensor]),
    lambda tensor: tensor.tolist(),
    lambda tensor: tensor.detach().numpy(),
]


@pytest.fixture
def fuzz_arguments() -> Callable[..., None]:
    """Call a function with random changes of valid arguments: it succeeds, or refuses them in one line."""

    def change(value: Any, draw: random.Random) -> Any:
        if isinstance(value, Tensor) and draw.random() < 0.6:
            return draw.choice(CHANGES)(value)
        if isinstance(value, list) and value and draw.random() < 0.6:
            place = draw.randrange(len(value))
            return [*value[:place], change(value[place], draw), *value[place + 1 :]]
        return draw.choice(hostile_values())

    def check_message(function: Callable[..., Any], message: str) -> None:
        assert message.startswith(f"{function.__name__}: ")
        assert "\n" not in message
        assert len(message) < 250

    def fuzz(function: Callable[..., Any], given: Mapping[str, Any]) -> None:
        draw = random.Random(int(os.environ.get("HARNESS_FUZZ_SEED", "0")))
        for _ in range(int(os.environ.get("HARNESS_FUZZ_CASES", "5000")) // 10):
            names = draw.sample(sorted(given), min(len(given), draw.choice((1, 1, 1, 2))))
            changed = {name: change(given[name], draw) for name in names}
            try:
                with torch.autocast("cpu", torch.bfloat16, enabled=draw.random() < 0.2):
                    result = function(**{**given, **changed})
            except HarnessError as error:
                check_message(function, str(error))
                continue
            if isinstance(result, Tensor) and result.requires_grad:
                result.float().sum().backward()

    return fuzz
