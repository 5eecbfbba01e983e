from __future__ import annotations

import importlib

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness import ops


def make(rows: int, hidden: int, width: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(rows + width)
    shapes = [(rows, hidden), (width, hidden), (width,), (hidden, width), (hidden,)]
    scales = [1.0, hidden**-0.5, 0.5, width**-0.5, 0.5]
    return [
        (torch.randn(*shape) * scale * 2).to(dtype).requires_grad_()
        for shape, scale in zip(shapes, scales, strict=True)
    ]


def eager(x: Tensor, w_in: Tensor, b_in: Tensor | None, w_out: Tensor, b_out: Tensor | None) -> Tensor:
    return functional.linear(functional.gelu(functional.linear(x, w_in, b_in)), w_out, b_out)


def score(given: list[Tensor], slope: Tensor) -> Tensor:
    """Return |Σ_tokens h·∂L/∂h| by autograd."""
    x, w_in, b_in, w_out, b_out = (one.detach() for one in given)
    h = functional.gelu(functional.linear(x, w_in, b_in)).detach().requires_grad_()
    (grad,) = torch.autograd.grad(functional.linear(h, w_out, b_out), h, slope)
    return (h * grad).sum(0).abs().detach()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "hidden", "width"), [(1, 1, 1), (7, 12, 17), (70, 24, 64), (5, 16, 2049)])
def test_error_is_at_most_that_of_eager(rows, hidden, width, dtype):
    given = make(rows, hidden, width, dtype)
    wide = [one.detach().double().requires_grad_() for one in given]
    slope = torch.randn(rows, hidden).to(dtype)
    truth = eager(*wide)
    truths = [truth.detach(), *torch.autograd.grad(truth, wide, slope.double())]
    usual = eager(*given)
    known = [usual.detach(), *torch.autograd.grad(usual, given, slope)]
    importance = torch.zeros(width)
    output = ops.linear_gelu_linear(*given, importance=importance)
    results = [output.detach(), *torch.autograd.grad(output, given, slope)]
    truths.append(score(wide, slope.double()))
    known.append(score(given, slope))
    for place, (one, other, true) in enumerate(zip([*results, importance], known, truths, strict=True)):
        norm = float(true.norm())
        mistake, usual_mistake = (float((x.double() - true).norm()) / norm for x in (one, other))
        floor = 4e-3 if dtype == torch.bfloat16 else 1e-6
        assert mistake <= max(floor, 1.25 * usual_mistake), (
            f"result {place}: {mistake:.1e}, eager {usual_mistake:.1e}"
        )


def test_error_of_gelu(compiled_only):
    """The error is relative to 1 near zero, and to the value itself far below zero."""
    x = torch.cat(
        [torch.linspace(-14, 14, 20001), torch.tensor([0.0, -0.0, 1e-30, -1e-30, 80.0, -80.0, 1e30, -1e30])]
    )
    truth = functional.gelu(x.double())
    value = torch.ops.harness.gelu(x[None])[0].double()
    assert float((value - truth).abs().max() / 14) < 1e-7
    small = truth.abs() < 1
    assert float((value - truth)[small].abs().max()) < 3e-7
    special = torch.tensor([[float("nan"), float("inf"), -float("inf")]])
    nan, large, least = torch.ops.harness.gelu(special)[0]
    assert bool(nan.isnan())
    assert float(large) == float("inf")
    assert bool(least.isnan()) or float(least) == 0.0  # torch's own is NaN


def test_gradient_matches_finite_differences():
    assert torch.autograd.gradcheck(ops.linear_gelu_linear, tuple(make(3, 4, 5, torch.float64)))


def test_reference_runs_at_small_shapes(monkeypatch):
    given, scores = make(5, 8, 20), []
    for limit in (0, 5 * 20):
        monkeypatch.setattr(
            importlib.import_module("harness.ops.linear_gelu_linear"), "_FEW_ACTIVATIONS", limit
        )
        scores.append(torch.zeros(20))
        ops.linear_gelu_linear(*given, importance=scores[-1]).square().sum().backward()
    assert torch.allclose(*scores, rtol=1e-5)


@pytest.mark.parametrize("missing", [(2,), (4,), (2, 4)])
def test_missing_biases(missing):
    given = [None if place in missing else one for place, one in enumerate(make(6, 8, 20, torch.float64))]
    expected = [one for one in given if one is not None]
    slope = torch.randn(6, 8, dtype=torch.float64)
    results = torch.autograd.grad(ops.linear_gelu_linear(*given), expected, slope)
    for one, other in zip(results, torch.autograd.grad(eager(*given), expected, slope), strict=True):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-14)


def test_importance_sums_the_taylor_scores_of_passes():
    given = make(40, 8, 20, torch.float64)
    importance = torch.zeros(20, dtype=torch.float64)
    expected = torch.zeros(20, dtype=torch.float64)
    for step in range(3):
        given[0] = torch.randn(40, 8, dtype=torch.float64)
        slope = torch.randn(40, 8, dtype=torch.float64) * (step + 1)
        ops.linear_gelu_linear(*given, importance=importance).backward(slope)
        expected += score(given, slope)
    assert torch.allclose(importance, expected, rtol=1e-11)


def test_importance_of_two_forward_passes():
    given = make(5, 8, 20)
    importance = torch.zeros(20)
    both = ops.linear_gelu_linear(*given, importance=importance).sum()
    both = both + ops.linear_gelu_linear(given[0] * 2, *given[1:], importance=importance).sum()
    both.backward()
    slope = torch.ones(5, 8)
    expected = score(given, slope) + score([given[0] * 2, *given[1:]], slope)
    assert torch.allclose(importance, expected, rtol=1e-5)


def test_importance_without_a_backward_pass():
    importance = torch.zeros(20)
    with torch.no_grad():
        ops.linear_gelu_linear(*make(5, 8, 20), importance=importance)
    assert bool((importance == 0).all())


@pytest.mark.parametrize("leading", [(), (0,), (2, 3), (2, 1, 3)])
def test_leading_dimensions(leading):
    given = make(1, 8, 20)
    x = torch.randn(*leading, 8)
    output = ops.linear_gelu_linear(x, *given[1:])
    assert output.shape == (*leading, 8)
    reference = eager(x.double(), *(one.double() for one in given[1:]))
    assert (output - reference).norm() <= 1e-6 * reference.norm()
    output.sum().backward()


@pytest.mark.parametrize("learns", range(5))
def test_only_tensors_that_require_it_get_a_gradient(learns):
    given = make(6, 8, 20)
    full = torch.autograd.grad(eager(*given).square().sum(), given)
    part = [one.detach().requires_grad_(place == learns) for place, one in enumerate(given)]
    ops.linear_gelu_linear(*part).square().sum().backward()
    assert torch.allclose(part[learns].grad, full[learns], rtol=1e-4, atol=1e-5)
    assert all(one.grad is None for place, one in enumerate(part) if place != learns)


def test_gradients_of_a_second_backward_pass():
    given = make(6, 8, 20)
    value = ops.linear_gelu_linear(*given).square().sum()
    first = [one.clone() for one in torch.autograd.grad(value, given, retain_graph=True)]
    for one, other in zip(first, torch.autograd.grad(value, given), strict=True):
        assert torch.equal(one, other)


def test_result_is_independent_of_threads():
    given = make(300, 16, 70)
    threads = torch.get_num_threads()
    scores = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            importance = torch.zeros(70)
            ops.linear_gelu_linear(*given, importance=importance).sum().backward()
            scores.append(importance)
    finally:
        torch.set_num_threads(threads)
    assert torch.allclose(*scores, rtol=1e-6)


def test_strides():
    given = make(6, 8, 20, torch.float64)
    turned = [one if one.dim() == 1 else one.T.contiguous().T for one in given]
    slope = torch.randn(8, 6, dtype=torch.float64).T
    results = torch.autograd.grad(ops.linear_gelu_linear(*turned), given, slope)
    for one, other in zip(results, torch.autograd.grad(eager(*given), given, slope), strict=True):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-14)


def test_nan_reaches_the_result():
    given = make(6, 8, 20)
    with torch.no_grad():
        given[0][2, 3] = float("nan")
    output = ops.linear_gelu_linear(*given)
    assert bool(output[2].isnan().all())
    assert bool(output[3].isfinite().all())


def test_no_uninitialised_memory_is_read(poisoned):
    given = make(6, 8, 33)
    importance = torch.zeros(33)
    ops.linear_gelu_linear(*given, importance=importance).sum().backward()
    assert bool(importance.isfinite().all())
    assert all(bool(one.grad.isfinite().all()) for one in given)


def test_autocast_lowers_the_dtype():
    block = nn.Sequential(nn.Linear(8, 20), nn.GELU(), nn.Linear(20, 8))
    x = torch.randn(5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        importance = torch.zeros(20)
        parameters = (block[0].weight, block[0].bias, block[2].weight, block[2].bias)
        output = ops.linear_gelu_linear(x, *parameters, importance=importance)
        assert output.dtype == torch.bfloat16
        assert torch.allclose(output, block(x), atol=3e-2)
    output.float().sum().backward()
    assert block[0].weight.grad.dtype == torch.float32
    assert bool((importance > 0).all())


def test_second_derivative_is_refused(compiled_only):
    given = make(6, 8, 20)
    with pytest.raises(
        Exception, match="linear_gelu_linear: backward: expected create_graph=False; got True"
    ):
        torch.autograd.grad(ops.linear_gelu_linear(*given).sum(), given, create_graph=True)


def test_schema_fake_and_autograd_agree_with_the_kernel(check_kernel):
    given = make(5, 8, 11)
    pre, grad = torch.randn(2, 5, 11)
    check_kernel("linear_gelu_linear", *given, None)
    check_kernel("gelu", pre)
    check_kernel("gelu_backward_", grad, pre, torch.zeros(11))


def test_torch_compile_takes_the_whole_graph(check_compile):
    x, *rest = (tensor.detach() for tensor in make(5, 8, 11))
    importance = torch.zeros(11)
    check_compile(
        lambda x: ops.linear_gelu_linear(x, *rest, importance=importance).square().sum(),
        x,
    )


def test_importance_grows_under_torch_compile():
    x, w_in, w_out = torch.randn(5, 8, requires_grad=True), torch.randn(11, 8), torch.randn(8, 11)
    importances = [torch.zeros(11), torch.zeros(11)]

    def block(x: Tensor, importance: Tensor) -> Tensor:
        return ops.linear_gelu_linear(x, w_in, None, w_out, None, importance=importance).square().sum()

    block(x, importances[0]).backward()
    torch.compile(block, fullgraph=True, backend="aot_eager")(x, importances[1]).backward()
    assert bool((importances[0] > 0).all())
    assert torch.allclose(*importances, rtol=1e-5)


VALID = {
    "x": torch.randn(4, 6, requires_grad=True),
    "w_in": torch.randn(9, 6),
    "b_in": torch.randn(9),
    "w_out": torch.randn(6, 9),
    "b_out": torch.randn(6),
    "importance": torch.zeros(9),
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": torch.tensor(1.0)}, "x: expected 1 dimensions; got no dimensions"),
        ({"w_in": torch.randn(9, 7)}, "w_in: expected 9×6; got 9×7"),
        ({"w_in": torch.randn(9)}, "w_in: expected 2 dimensions; got 9"),
        ({"w_out": torch.randn(6, 8)}, "w_out: expected 6×9; got 6×8"),
        ({"b_in": torch.randn(6)}, "b_in: expected 9; got 6"),
        ({"b_out": torch.randn(9)}, "b_out: expected 6; got 9"),
        ({"b_out": torch.randn(6).double()}, "b_out: expected float32; got float64"),
        ({"importance": torch.zeros(6)}, "importance: expected 9; got 6"),
        ({"importance": torch.zeros(9).double()}, "importance: expected float32; got float64"),
        ({"importance": torch.zeros(18)[::2]}, "importance: expected a contiguous tensor; got strides (2,)"),
        (
            {"importance": torch.zeros(9, requires_grad=True)},
            "importance: expected a tensor without gradient; got requires_grad=True",
        ),
        ({"x": None}, "x: expected a tensor; got NoneType"),
        ({"b_in": 0.5}, "b_in: expected a tensor; got float"),
        ({"x": torch.randn(4, 0)}, "x: expected a width of 1 or more; got 0"),
        ({"w_in": torch.randn(0, 6)}, "w_in: expected one neuron or more; got none"),
        ({"w_out": torch.randn(0, 9)}, "w_out: expected one output or more; got none"),
        ({"importance": [1.0]}, "importance: expected a tensor; got list"),
    ],
)
def test_wrong_arguments(changed, message, check_refusal):
    check_refusal(ops.linear_gelu_linear, VALID, changed, message)


def test_fuzz_of_arguments(fuzz_arguments):
    fuzz_arguments(ops.linear_gelu_linear, VALID)
