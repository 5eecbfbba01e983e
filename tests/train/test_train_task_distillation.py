"""Task distillation: the losses by hand, a student that begins with the teacher's layers, equal runs."""

from __future__ import annotations

import math

import pytest
import torch

from harness.errors import HarnessError
from harness.models.hidden_states import HiddenStates
from harness.models.loading import checkpoint
from harness.train.finetuning import finetune as finetuning
from harness.train.finetuning.distillation import TaskDistillation, copy_layers, task_distillation_loss
from harness.train.finetuning.finetune import finetune
from harness.train.finetuning.protocol import Protocol
from harness.train.losses.inputs import Outputs

PROTOCOL = Protocol(
    epochs=2,
    learning_rate=5e-3,
    batch_size=8,
    warmup_fraction=0.1,
    weight_decay=0.0,
    max_length=16,
    precision="fp32",
)
BATCH = {"attention_mask": torch.ones(1, 2), "labels": torch.tensor([[-100, 1]])}


def distil(tmp_path, weights, **more):
    return TaskDistillation((tmp_path / "teacher",), weights, **more)


def output(logits, *hiddens):
    states = HiddenStates(tuple(torch.tensor([layer]) for layer in hiddens), (), (), (), 1)
    return Outputs(states, logits_NC=torch.tensor([logits]))


def test_class_losses_by_hand(tmp_path):
    student, teacher = output([0.0, 0.0]), output([2 * math.log(3), 0.0])
    half, quarter = math.log(2), math.log(4)
    softened = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert half == pytest.approx(
        task_distillation_loss(distil(tmp_path, {"labels": 1}), student, teacher, BATCH).item()
    )
    loss = task_distillation_loss(distil(tmp_path, {"class_kl": 1}, temperature=2), student, teacher, BATCH)
    assert loss.item() == pytest.approx(4 * softened), "τ² times the divergence at τ = 2"
    loss = task_distillation_loss(distil(tmp_path, {"class_mse": 1}), student, teacher, BATCH)
    assert loss.item() == pytest.approx((2 * math.log(3)) ** 2 / 2), "mean over the two classes"
    both = distil(tmp_path, {"labels": 0.5, "class_kl": 0.25}, temperature=2)
    assert task_distillation_loss(both, student, teacher, BATCH).item() == pytest.approx(half / 2 + softened)
    assert task_distillation_loss(
        distil(tmp_path, {"labels": 1}), output([0.0, math.log(1 / 3)]), teacher, BATCH
    ).item() == (pytest.approx(quarter))


def test_patient_compares_the_first_position_below_the_last_layer(tmp_path):
    here, there = [[3.0, 4.0], [9.0, 9.0]], [[0.0, 5.0], [1.0, 1.0]]
    student = output([0.0, 0.0], here, here, here)
    teacher = output([0.0, 0.0], here, here, there, here, there)
    loss = task_distillation_loss(distil(tmp_path, {"patient": 1}), student, teacher, BATCH)
    assert loss.item() == pytest.approx((0.6**2 + 0.2**2) / 2), "layer 1 with 2, each scaled to length one"
    last = task_distillation_loss(distil(tmp_path, {"patient": 1}, layers="last"), student, teacher, BATCH)
    assert last.item() == 0.0, "layer 1 with 3"


def test_padding_enters_no_feature_loss(tmp_path):
    batch = {"attention_mask": torch.tensor([[1, 0]]), "labels": torch.tensor([[1, -100]])}
    here, there = [[1.0], [7.0]], [[3.0], [0.0]]
    loss = task_distillation_loss(
        distil(tmp_path, {"feature_mse": 1}),
        output([0.0, 0.0], here, here),
        output([0.0, 0.0], there, there),
        batch,
    )
    assert loss.item() == pytest.approx(4.0)


def test_attention_mse_compares_after_the_softmax(tmp_path):
    def attending(scale):
        keys = (torch.tensor([[[0.0], [1.0]]]),)
        return Outputs(
            HiddenStates((), (torch.tensor([[[scale], [scale]]]),), keys, keys, 1),
            logits_NC=torch.zeros(1, 2),
        )

    loss = task_distillation_loss(
        distil(tmp_path, {"attention_mse": 1}), attending(0.0), attending(math.log(3)), BATCH
    )
    assert loss.item() == pytest.approx(0.25**2), "[1/2, 1/2] compared with [1/4, 3/4]"
    scores = task_distillation_loss(
        distil(tmp_path, {"attention_score_mse": 1}), attending(0.0), attending(math.log(3)), BATCH
    )
    assert scores.item() == pytest.approx(math.log(3) ** 2 / 2), "[0, 0] compared with [0, ln 3]"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"class_kl": 1}, "tune: expected a temperature with class_kl; got none"),
        ({"clas": 1}, "unknown loss 'clas'"),
    ],
)
def test_distillation_without_temperature_or_of_unknown_loss_is_refused(weights, message, tmp_path):
    with pytest.raises(HarnessError, match=message):
        distil(tmp_path, weights)


@pytest.fixture
def run(make_model, tokenizer, sorted_texts, tmp_path):
    checkpoint.save_checkpoint(make_model(), tokenizer, tmp_path / "student")

    def run(distillation=None, **changes):
        return finetune(
            tmp_path / "student",
            tokenizer,
            sorted_texts,
            protocol=Protocol(**(vars(PROTOCOL) | changes)),
            seed=1,
            score=lambda labels: sum(
                one == two.label for one, two in zip(labels, sorted_texts.dev, strict=True)
            ),
            folder=tmp_path / "scratch",
            distillation=distillation,
        )

    return run


@pytest.fixture
def teacher(run, tokenizer, tmp_path):
    """Fine-tune the student's encoder on the task and save it as the teacher."""
    tuned = run()
    checkpoint.save_checkpoint(tuned.model, tokenizer, tmp_path / "teacher")
    return tuned


def test_copied_layers_compute_the_same(teacher, sorted_texts, tmp_path):
    student = finetuning.load_task_model(tmp_path / "student", sorted_texts).eval()
    depth = student.config.num_hidden_layers
    rows = {"input_ids": torch.tensor([[2, 5, 6, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    with torch.no_grad():
        expected = teacher.model(**rows).logits
        copy_layers(student, teacher.model, tuple(range(depth)))
        assert torch.equal(student(**rows).logits, expected)
        copy_layers(student, teacher.model, tuple(reversed(range(depth))))
        assert not torch.equal(student(**rows).logits, expected)


@pytest.mark.usefixtures("teacher")
def test_distillation_changes_the_weights_and_repeats_exactly(run, tmp_path):
    new = distil(tmp_path, {"class_mse": 1, "patient": 10, "attention_mse": 1, "embedding_mse": 1})
    weights = [
        run(one).model.state_dict()["classifier.weight"]
        for one in (new, new, distil(tmp_path, {"labels": 1}), None)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2])
    assert torch.allclose(weights[2], weights[3], atol=1e-5), "labels alone is plain fine-tuning"


def test_an_untrained_student_with_all_layers_predicts_as_its_teacher(teacher, run, tmp_path):
    depth = teacher.model.config.num_hidden_layers
    begun = distil(tmp_path, {"class_mse": 1}, kept_layers=tuple(range(depth)))
    assert run(begun, learning_rate=1e-12).dev_predictions == teacher.dev_predictions
