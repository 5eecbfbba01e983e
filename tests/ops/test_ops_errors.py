"""Every message a caller can meet names the op, the argument, what was wanted and what came."""

from __future__ import annotations

import pytest
import torch

from harness import ops
from harness.errors import HarnessError

S, T = torch.randn(4, 10), torch.randn(4, 10)
Y = torch.tensor([1, 2, 3, -100])
GIVEN = {"temperature": 2.0, "soft_weight": 0.5, "hard_weight": 0.5}
LOGITS = {"student_logits": S, "teacher_logits": T, "target": Y, **GIVEN}
LINEAR = {
    "student_hidden": torch.randn(4, 6),
    "student_weight": torch.randn(10, 6),
    "teacher_hidden": torch.randn(4, 8),
    "teacher_weight": torch.randn(10, 8),
    "target": Y,
    **GIVEN,
}
MSE = {
    name: LINEAR[name] for name in ("student_hidden", "student_weight", "teacher_hidden", "teacher_weight")
}
CROSS_ENTROPY = {"hidden": LINEAR["student_hidden"], "weight": LINEAR["student_weight"], "target": Y}
HIDDEN = {"student_hiddens": [torch.randn(2, 3, 6)], "teacher_hiddens": [torch.randn(2, 3, 6)], "kind": "mse"}
FFN = {
    "x": torch.randn(4, 6),
    "w_in": torch.randn(9, 6),
    "b_in": torch.randn(9),
    "w_out": torch.randn(6, 9),
    "b_out": torch.randn(6),
}


def check(function, given: dict, changed: dict, message: str) -> None:
    with pytest.raises(HarnessError) as caught:
        function(**{**given, **changed})
    text = str(caught.value)
    assert "\n" not in text
    assert text == f"{function.__name__}: {message}"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"student_logits": [[1.0]]}, "student_logits: expected a tensor; got list"),
        ({"student_logits": S[0]}, "student_logits: expected 2 dimensions; got 10"),
        ({"student_logits": torch.tensor(1.0)}, "student_logits: expected 2 dimensions; got no dimensions"),
        ({"student_logits": S.int()}, "student_logits: expected float32 or bfloat16 or float64; got int32"),
        (
            {"student_logits": S.half()},
            "student_logits: expected float32 or bfloat16 or float64; got float16",
        ),
        ({"student_logits": S.to("meta")}, "student_logits: expected a tensor on cpu or cuda; got meta"),
        (
            {"student_logits": S.to_sparse()},
            "student_logits: expected a strided tensor; got layout sparse_coo",
        ),
        (
            {"student_logits": S[:, :0], "teacher_logits": T[:, :0]},
            "student_logits: expected one token or more; got N×0",
        ),
        ({"teacher_logits": None}, "teacher_logits: expected a tensor; got NoneType"),
        ({"teacher_logits": T[:, :9]}, "teacher_logits: expected 4×10; got 4×9"),
        ({"teacher_logits": T[:3]}, "teacher_logits: expected 4×10; got 3×10"),
        ({"teacher_logits": T.double()}, "teacher_logits: expected float32; got float64"),
        ({"target": Y.int()}, "target: expected int64; got int32"),
        ({"target": Y[:3]}, "target: expected 4; got 3"),
        ({"target": [1, 2, 3, 4]}, "target: expected a tensor; got list"),
        ({"target": Y.clone().fill_(10)}, "target: expected indices from 0 to 9 or -100; got 10"),
        ({"target": Y.clone().fill_(-1)}, "target: expected indices from 0 to 9 or -100; got -1"),
        ({"target": Y, "ignore_index": -1}, "target: expected indices from 0 to 9 or -1; got -100"),
        ({"target": Y.to("meta")}, "target: expected device cpu; got meta"),
        ({"target": None}, "target: expected labels, as hard_weight is 0.5; got none"),
        ({"soft_mask": torch.ones(4)}, "soft_mask: expected bool; got float32"),
        ({"soft_mask": torch.ones(5, dtype=torch.bool)}, "soft_mask: expected 4; got 5"),
        ({"temperature": 0}, "temperature: expected a finite number greater than 0; got 0"),
        ({"temperature": -1.0}, "temperature: expected a finite number greater than 0; got -1.0"),
        ({"temperature": float("nan")}, "temperature: expected a finite number greater than 0; got nan"),
        ({"temperature": float("inf")}, "temperature: expected a finite number greater than 0; got inf"),
        ({"soft_weight": -0.1}, "soft_weight: expected a finite number of 0 or more; got -0.1"),
        ({"hard_weight": float("inf")}, "hard_weight: expected a finite number of 0 or more; got inf"),
        ({"divergence": "jsd"}, "divergence: expected 'forward_kl' or 'reverse_kl'; got 'jsd'"),
    ],
)
def test_distillation_loss(changed, message):
    check(ops.distillation_loss, LOGITS, changed, message)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"student_hidden": S[0]}, "student_hidden: expected 2 dimensions; got 10"),
        ({"student_weight": torch.randn(10, 7)}, "student_weight: expected 10×6; got 10×7"),
        ({"student_weight": torch.randn(0, 6)}, "student_weight: expected one token or more; got 0×"),
        ({"teacher_hidden": torch.randn(3, 8)}, "teacher_hidden: expected 4×8; got 3×8"),
        ({"teacher_weight": torch.randn(10, 7)}, "teacher_weight: expected 10×8; got 10×7"),
        (
            {"teacher_weight": torch.randn(12, 8)},
            "teacher_weight: expected 10 rows, or a vocab_index; got 12 rows",
        ),
        ({"teacher_hidden": torch.randn(4, 8).double()}, "teacher_hidden: expected float32; got float64"),
        ({"student_bias": torch.randn(9)}, "student_bias: expected 10; got 9"),
        ({"teacher_bias": torch.randn(9)}, "teacher_bias: expected 10; got 9"),
        ({"vocab_index": torch.arange(9)}, "vocab_index: expected 10; got 9"),
        ({"vocab_index": torch.arange(10).float()}, "vocab_index: expected int64; got float32"),
        ({"vocab_index": torch.arange(1, 11)}, "vocab_index: expected indices from 0 to 9; got 10"),
        ({"target": Y.clone().fill_(10)}, "target: expected indices from 0 to 9 or -100; got 10"),
        ({"target": None}, "target: expected labels, as hard_weight is 0.5; got none"),
        ({"soft_mask": torch.ones(5, dtype=torch.bool)}, "soft_mask: expected 4; got 5"),
        ({"temperature": 0.0}, "temperature: expected a finite number greater than 0; got 0.0"),
        ({"chunk_size": 0}, "chunk_size: expected 1 row or more; got 0"),
    ],
)
def test_linear_distillation_loss(changed, message):
    check(ops.linear_distillation_loss, LINEAR, changed, message)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden": S[0]}, "hidden: expected 2 dimensions; got 10"),
        ({"weight": torch.randn(10, 7)}, "weight: expected 10×6; got 10×7"),
        ({"weight": torch.randn(0, 6)}, "weight: expected one token or more; got 0×"),
        ({"bias": torch.randn(9)}, "bias: expected 10; got 9"),
        ({"target": Y[:3]}, "target: expected 4; got 3"),
        ({"target": Y.clone().fill_(10)}, "target: expected indices from 0 to 9 or -100; got 10"),
        ({"chunk_size": 0}, "chunk_size: expected 1 row or more; got 0"),
    ],
)
def test_linear_cross_entropy(changed, message):
    check(ops.linear_cross_entropy, CROSS_ENTROPY, changed, message)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"teacher_weight": torch.randn(9, 8)},
            "teacher_weight: expected 10 rows, or a vocab_index; got 9 rows",
        ),
        ({"student_bias": torch.randn(3)}, "student_bias: expected 10; got 3"),
        ({"row_mask": torch.ones(4)}, "row_mask: expected bool; got float32"),
        ({"row_mask": torch.ones(3, dtype=torch.bool)}, "row_mask: expected 4; got 3"),
        ({"teacher_gram": torch.ones(6, 6)}, "teacher_gram: expected 8×8; got 6×6"),
        ({"teacher_gram": torch.ones(8, 8).bfloat16()}, "teacher_gram: expected float32; got bfloat16"),
    ],
)
def test_linear_mse_logits_loss(changed, message):
    check(ops.linear_mse_logits_loss, MSE, changed, message)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "l1"}, "kind: expected 'cosine' or 'mse'; got 'l1'"),
        (
            {"student_hiddens": torch.randn(2, 6)},
            "student_hiddens: expected a list of one layer or more; got Tensor",
        ),
        ({"student_hiddens": []}, "student_hiddens: expected a list of one layer or more; got list"),
        ({"teacher_hiddens": []}, "teacher_hiddens: expected 1 layers, as student_hiddens has; got 0"),
        ({"weights": [1.0, 1.0]}, "weights: expected 1 layers, as student_hiddens has; got 2"),
        ({"weights": [-1.0]}, "weights[0]: expected a finite number of 0 or more; got -1.0"),
        ({"projections": [None, None]}, "projections: expected 1 layers, as student_hiddens has; got 2"),
        ({"teacher_hiddens": [torch.randn(2, 4, 6)]}, "teacher_hiddens[0]: expected 2×3×6; got 2×4×6"),
        (
            {"teacher_hiddens": [torch.randn(2, 3, 7)]},
            "student_hiddens[0]: expected width 7, or a projection; got width 6",
        ),
        ({"projections": [torch.randn(6, 5)]}, "projections[0]: expected 6×6; got 6×5"),
        ({"student_hiddens": [torch.randn(6)]}, "student_hiddens[0]: expected 2 dimensions; got 6"),
        ({"mask": torch.ones(2, 3)}, "mask: expected bool; got float32"),
        ({"mask": torch.ones(2, dtype=torch.bool)}, "mask: expected 2×3; got 2"),
    ],
)
def test_hidden_state_loss(changed, message):
    check(ops.hidden_state_loss, HIDDEN, changed, message)


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
    ],
)
def test_linear_gelu_linear(changed, message):
    check(ops.linear_gelu_linear, FFN, changed, message)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "distillation_loss",
            (S, T[:3], None, None, 1.0, "forward_kl", -100, False),
            "teacher_logits: expected 4×10; got 3×10",
        ),
        (
            "distillation_loss",
            (S, T, Y + 10, None, 1.0, "forward_kl", -100, False),
            "target: expected indices from 0 to 9",
        ),
        (
            "distillation_loss",
            (S, T, None, None, 0.0, "forward_kl", -100, False),
            "temperature: expected a number greater",
        ),
        (
            "distillation_loss",
            (S, T, None, None, 1.0, "kl", -100, False),
            "divergence: expected 'forward_kl' or",
        ),
        (
            "distillation_loss",
            (S.int(), T.int(), None, None, 1.0, "forward_kl", -100, False),
            "student_logits: expected float32",
        ),
        (
            "distillation_loss",
            (S, T.double(), None, None, 1.0, "forward_kl", -100, False),
            "teacher_logits: expected one dtype",
        ),
        (
            "distillation_loss_forward_backward_",
            (S[:1].expand(4, 10), T, None, None, torch.ones(2), 1.0, -100),
            "student_logits: expected contiguous rows that do not overlap",
        ),
        (
            "distillation_loss_backward",
            (torch.ones(4), torch.ones(4), S, T, None, None, torch.ones(4, 5), 1.0, "forward_kl", -100),
            "statistics: expected the statistics of the forward pass; got 4×5",
        ),
        ("hidden_state_loss", ([S], [T, T], None, "mse", [1.0], True), "teachers: expected 1 layers; got 2"),
        (
            "hidden_state_loss",
            ([S], [T], None, "mse", [], True),
            "weights: expected one weight for each layer; got 0",
        ),
        ("gelu_backward_", (S.clone(), T[:3], None), "pre: expected 4×10; got 3×10"),
        ("gelu_backward_", (S.clone(), T, torch.zeros(9)), "importance: expected 10 rows; got 9"),
    ],
)
def test_the_kernels_refuse_what_reaches_them_directly(name, arguments, message, compiled_only):
    with pytest.raises(RuntimeError) as caught:
        getattr(torch.ops.harness, name)(*arguments)
    assert message in str(caught.value)
