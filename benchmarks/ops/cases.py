"""The cases of the benchmark: for each op its inputs, its variants, and the work it declares.

Shapes: **N** rows, **V** vocabulary, **D** hidden, **F** FFN width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TypedDict

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.ops import peers
from harness import ops
from harness.ops import reference

Step = Callable[[], list[Tensor]]
Given = Sequence[Tensor]


@dataclass(frozen=True)
class Case:
    """One op at one shape and dtype.

    Attributes:
        name: name of the op.
        shape: sizes by letter.
        dtype: type of the inputs.
        variants: a training step of each variant, which returns the loss and the gradients.
        traffic_bytes: bytes that a perfect kernel reads and writes; 0 where products take the time.
        flops: FLOPs of the matrix products.
    """

    name: str
    shape: Mapping[str, int]
    dtype: torch.dtype
    variants: Mapping[str, Step]
    traffic_bytes: int
    flops: int


def _step(function: Callable[..., Tensor], given: Given) -> Step:
    learnt = [one for one in given if one.requires_grad]

    def run() -> list[Tensor]:
        loss = function(*given)
        slope = torch.ones_like(loss) if loss.dim() == 0 else loss.detach()
        return [loss.detach(), *torch.autograd.grad(loss, learnt, slope)]

    return run


def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return torch.compile of a function; it is compiled at the first call."""
    made: list[Callable[..., Tensor]] = []

    def run(*given: Tensor) -> Tensor:
        if not made:
            torch._dynamo.reset()
            made.append(torch.compile(function, fullgraph=True))
        return made[0](*given)

    return run


def _variants(functions: Mapping[str, Callable[..., Tensor]], given: Given) -> dict[str, Step]:
    """Return each function's step, and as ``compile`` that of torch.compile of ``eager``."""
    everything = {**functions, "compile": _compiled(functions["eager"])}
    return {name: _step(function, given) for name, function in everything.items()}


def _random(*shape: int, dtype: torch.dtype, device: str, scale: float = 1.0, learns: bool = False) -> Tensor:
    tensor = (torch.randn(*shape, device=device) * scale).to(dtype)
    return tensor.requires_grad_(learns)


class Weights(TypedDict):
    """The temperature and the weights of both terms of a distillation loss."""

    temperature: float
    soft_weight: float
    hard_weight: float


_WEIGHTS = Weights(temperature=peers.TAU, soft_weight=peers.SOFT, hard_weight=peers.HARD)


def _reference_distillation(student_NV: Tensor, teacher_NV: Tensor, target_N: Tensor) -> Tensor:
    soft_N, hard_N = reference.distillation_rows(
        student_NV, teacher_NV, target_N, None, peers.TAU, "forward_kl", -100
    )
    return peers.SOFT * peers.TAU**2 * soft_N.mean() + peers.HARD * hard_N.mean()


def distillation_loss(shape: Mapping[str, int], dtype: torch.dtype, device: str) -> Case:
    """Build a case of the loss from logits."""
    rows, vocabulary = shape["N"], shape["V"]
    given = [
        _random(rows, vocabulary, dtype=dtype, device=device, scale=3, learns=True),
        _random(rows, vocabulary, dtype=dtype, device=device, scale=3),
        torch.randint(0, vocabulary, (rows,), device=device),
    ]
    functions: dict[str, Callable[..., Tensor]] = {
        "eager": peers.distillation,
        "reference": _reference_distillation,
        "liger pattern": peers.distillation_pattern,
        "harness": lambda *all: ops.distillation_loss(*all, **_WEIGHTS),
    }
    variants = _variants(functions, given)
    overwritten = [given[0].detach().clone().requires_grad_(), *given[1:]]
    variants["harness in place"] = _step(
        lambda *all: ops.distillation_loss(*all, **_WEIGHTS, inplace_backward=True), overwritten
    )
    traffic = 3 * rows * vocabulary * given[0].element_size()
    return Case("distillation_loss", shape, dtype, variants, traffic, 0)


def linear_distillation_loss(shape: Mapping[str, int], dtype: torch.dtype, device: str) -> Case:
    """Build a case of the loss from hidden states."""
    rows, vocabulary, width = shape["N"], shape["V"], shape["D"]
    given = [
        _random(rows, width, dtype=dtype, device=device, learns=True),
        _random(vocabulary, width, dtype=dtype, device=device, scale=0.1, learns=True),
        _random(rows, width, dtype=dtype, device=device),
        _random(vocabulary, width, dtype=dtype, device=device, scale=0.1),
        torch.randint(0, vocabulary, (rows,), device=device),
    ]
    functions: dict[str, Callable[..., Tensor]] = {
        "eager": peers.linear_distillation,
        "liger pattern": peers.linear_distillation_pattern,
        "harness": lambda *all: ops.linear_distillation_loss(*all, **_WEIGHTS),
    }
    variants = _variants(functions, given)
    flops = 8 * rows * vocabulary * width
    return Case("linear_distillation_loss", shape, dtype, variants, 0, flops)


def linear_cross_entropy(shape: Mapping[str, int], dtype: torch.dtype, device: str) -> Case:
    """Build a case of the hard term alone, with PyTorch's own op as a variant."""
    rows, vocabulary, width = shape["N"], shape["V"], shape["D"]
    given = [
        _random(rows, width, dtype=dtype, device=device, learns=True),
        _random(vocabulary, width, dtype=dtype, device=device, scale=0.1, learns=True),
        torch.randint(0, vocabulary, (rows,), device=device),
    ]
    functions: dict[str, Callable[..., Tensor]] = {
        "eager": lambda hidden_ND, weight_VD, target_N: functional.cross_entropy(
            functional.linear(hidden_ND, weight_VD), target_N
        ),
        "harness": ops.linear_cross_entropy,
    }
    if hasattr(functional, "linear_cross_entropy"):
        functions["F.linear_cross_entropy"] = functional.linear_cross_entropy
    if device == "cuda" and find_spec("liger_kernel"):
        functions["liger"] = peers.liger_linear_cross_entropy
    flops = 6 * rows * vocabulary * width
    return Case("linear_cross_entropy", shape, dtype, _variants(functions, given), 0, flops)


def linear_mse_logits_loss(shape: Mapping[str, int], dtype: torch.dtype, device: str) -> Case:
    """Build a case of the Gram form; the declared FLOPs are those of this form."""
    rows, vocabulary, width = shape["N"], shape["V"], shape["D"]
    teacher = [
        _random(rows, width, dtype=dtype, device=device),
        _random(vocabulary, width, dtype=dtype, device=device, scale=0.1),
    ]
    student = [(one + 0.05 * torch.randn_like(one)).requires_grad_() for one in teacher]
    gram = ops.teacher_gram(teacher[1])
    functions: dict[str, Callable[..., Tensor]] = {
        "eager": peers.linear_mse,
        "harness": lambda *all: ops.linear_mse_logits_loss(*all, teacher_gram=gram),
        "harness, no Gram matrix at hand": ops.linear_mse_logits_loss,
    }
    flops = 8 * vocabulary * width**2 + 12 * rows * width**2
    variants = _variants(functions, [*student, *teacher])
    return Case("linear_mse_logits_loss", shape, dtype, variants, 0, flops)


def hidden_state_loss(shape: Mapping[str, int], dtype: torch.dtype, device: str) -> Case:
    """Build a case of the cosine loss of all layers in one call."""
    layers, rows, width = shape["layers"], shape["N"], shape["D"]
    students = [_random(rows, width, dtype=dtype, device=device, learns=True) for _ in range(layers)]
    teachers = [_random(rows, width, dtype=dtype, device=device) for _ in range(layers)]

    def split(function: Callable[[list[Tensor], list[Tensor]], Tensor]) -> Callable[..., Tensor]:
        return lambda *all: function(list(all[:layers]), list(all[layers:]))

    functions = {
        "eager": split(peers.hidden_cosine),
        "harness": split(lambda *pair: ops.hidden_state_loss(*pair, kind="cosine")),
    }
    traffic = 5 * layers * rows * width * students[0].element_size()
    variants = _variants(functions, [*students, *teachers])
    return Case("hidden_state_loss", shape, dtype, variants, traffic, 0)


def _ffn_given(shape: Mapping[str, int], dtype: torch.dtype, device: str, *, learns: bool) -> list[Tensor]:
    rows, width, inner = shape["N"], shape["D"], shape["F"]
    shapes = ((rows, width), (inner, width), (inner,), (width, inner), (width,))
    return [_random(*one, dtype=dtype, device=device, scale=0.05, learns=learns) for one in shapes]


def _scoring_ffn(importance_F: Tensor) -> Callable[..., Tensor]:
    """Return the FFN with its neurons scored the usual way: by a hook on the activation."""

    def run(x_ND: Tensor, w_in_FD: Tensor, b_in_F: Tensor, w_out_DF: Tensor, b_out_D: Tensor) -> Tensor:
        h_NF = reference.score_neurons(reference.linear_gelu(x_ND, w_in_FD, b_in_F), importance_F)
        return functional.linear(h_NF, w_out_DF, b_out_D)

    return run


def linear_gelu_linear(shape: Mapping[str, int], dtype: torch.dtype, device: str) -> Case:
    """Build a case of a training step of the FFN."""
    given = _ffn_given(shape, dtype, device, learns=True)
    importance = torch.zeros(shape["F"], device=device)
    functions: dict[str, Callable[..., Tensor]] = {
        "eager": peers.ffn,
        "harness": ops.linear_gelu_linear,
        "eager, scoring": _scoring_ffn(importance.clone()),
        "harness, scoring": lambda *all: ops.linear_gelu_linear(*all, importance=importance),
    }
    flops = 12 * shape["N"] * shape["D"] * shape["F"]
    return Case("linear_gelu_linear", shape, dtype, _variants(functions, given), 0, flops)


BUILDERS: dict[str, Callable[[Mapping[str, int], torch.dtype, str], Case]] = {
    builder.__name__: builder
    for builder in (
        distillation_loss,
        linear_distillation_loss,
        linear_cross_entropy,
        linear_mse_logits_loss,
        hidden_state_loss,
        linear_gelu_linear,
    )
}

FP32, BF16 = torch.float32, torch.bfloat16

SHAPES: dict[str, dict[str, list[tuple[str, dict[str, int], torch.dtype]]]] = {
    "cpu": {
        "small": [
            ("distillation_loss", {"N": 32, "V": 8000}, FP32),
            ("linear_distillation_loss", {"N": 64, "V": 4000, "D": 96}, FP32),
            ("linear_cross_entropy", {"N": 64, "V": 4000, "D": 96}, FP32),
            ("linear_mse_logits_loss", {"N": 512, "V": 4000, "D": 96}, FP32),
            ("hidden_state_loss", {"layers": 2, "N": 256, "D": 96}, FP32),
            ("linear_gelu_linear", {"N": 256, "D": 96, "F": 384}, FP32),
        ],
        "full": [
            ("distillation_loss", {"N": 512, "V": 119547}, FP32),
            ("distillation_loss", {"N": 512, "V": 119547}, BF16),
            ("linear_distillation_loss", {"N": 512, "V": 119547, "D": 768}, FP32),
            ("linear_distillation_loss", {"N": 512, "V": 119547, "D": 768}, BF16),
            ("linear_distillation_loss", {"N": 1024, "V": 40000, "D": 312}, FP32),
            ("linear_cross_entropy", {"N": 512, "V": 40000, "D": 768}, FP32),
            ("linear_mse_logits_loss", {"N": 2048, "V": 40000, "D": 768}, FP32),
            ("linear_mse_logits_loss", {"N": 4096, "V": 40000, "D": 768}, FP32),
            ("hidden_state_loss", {"layers": 6, "N": 4096, "D": 768}, FP32),
            ("linear_gelu_linear", {"N": 2048, "D": 768, "F": 3072}, FP32),
            ("linear_gelu_linear", {"N": 2048, "D": 768, "F": 3072}, BF16),
        ],
    },
    "cuda": {
        "full": [
            ("distillation_loss", {"N": 8192, "V": 119552}, BF16),
            ("distillation_loss", {"N": 8192, "V": 40000}, BF16),
            ("linear_distillation_loss", {"N": 8192, "V": 119552, "D": 768}, BF16),
            ("linear_mse_logits_loss", {"N": 8192, "V": 119552, "D": 768}, FP32),
            ("hidden_state_loss", {"layers": 6, "N": 32768, "D": 768}, BF16),
            ("linear_gelu_linear", {"N": 32768, "D": 768, "F": 3072}, BF16),
        ],
    },
}
SHAPES["cuda"]["small"] = SHAPES["cpu"]["small"]
