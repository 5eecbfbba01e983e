"""Learning a task from a tuned teacher: the losses by hand, the student that begins as it, equal runs."""

from __future__ import annotations

import math

import pytest
import torch

from harness.errors import HarnessError
from harness.models.hidden_states import HiddenStates
from harness.models.loading import checkpoint
from harness.train.finetuning import finetune as finetuning
from harness.train.finetuning.distillation import Lesson, Told, lesson_loss, start_as
from harness.train.finetuning.finetune import Protocol, finetune

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


def lesson(tmp_path, weights, **more):
    return Lesson(tmp_path / "taught", weights, **more)


def told(logits, *hiddens):
    return Told(
        torch.tensor([logits]), HiddenStates(tuple(torch.tensor([one]) for one in hiddens), (), (), (), 1)
    )


def test_classes_are_compared_as_the_papers_have_it(tmp_path):
    student, teacher = told([0.0, 0.0]), told([2 * math.log(3), 0.0])
    half, quarter = math.log(2), math.log(4)
    softened = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert half == pytest.approx(lesson_loss(lesson(tmp_path, {"labels": 1}), student, teacher, BATCH).item())
    found = lesson_loss(lesson(tmp_path, {"class_kl": 1}, temperature=2), student, teacher, BATCH)
    assert found.item() == pytest.approx(4 * softened), "τ² times the divergence at τ = 2"
    found = lesson_loss(lesson(tmp_path, {"class_mse": 1}), student, teacher, BATCH)
    assert found.item() == pytest.approx((2 * math.log(3)) ** 2 / 2), "mean over the two classes"
    both = lesson(tmp_path, {"labels": 0.5, "class_kl": 0.25}, temperature=2)
    assert lesson_loss(both, student, teacher, BATCH).item() == pytest.approx(half / 2 + softened)
    assert lesson_loss(
        lesson(tmp_path, {"labels": 1}), told([0.0, math.log(1 / 3)]), teacher, BATCH
    ).item() == (pytest.approx(quarter))


def test_patience_looks_at_the_first_position_below_the_last_layer(tmp_path):
    here, there = [[3.0, 4.0], [9.0, 9.0]], [[0.0, 5.0], [1.0, 1.0]]
    student = told([0.0, 0.0], here, here, here)
    teacher = told([0.0, 0.0], here, here, there, here, there)
    found = lesson_loss(lesson(tmp_path, {"patient": 1}), student, teacher, BATCH)
    assert found.item() == pytest.approx((0.6**2 + 0.2**2) / 2), "layer 1 with 2, each scaled to length one"
    last = lesson_loss(lesson(tmp_path, {"patient": 1}, layers="last"), student, teacher, BATCH)
    assert last.item() == 0.0, "layer 1 with 3"


def test_what_is_asked_nothing_of_does_not_enter(tmp_path):
    batch = {"attention_mask": torch.tensor([[1, 0]]), "labels": torch.tensor([[1, -100]])}
    here, there = [[1.0], [7.0]], [[3.0], [0.0]]
    found = lesson_loss(
        lesson(tmp_path, {"feature_mse": 1}),
        told([0.0, 0.0], here, here),
        told([0.0, 0.0], there, there),
        batch,
    )
    assert found.item() == pytest.approx(4.0)


def test_attention_is_compared_after_the_softmax(tmp_path):
    def attending(scale):
        keys = (torch.tensor([[[0.0], [1.0]]]),)
        return Told(torch.zeros(1, 2), HiddenStates((), (torch.tensor([[[scale], [scale]]]),), keys, keys, 1))

    found = lesson_loss(lesson(tmp_path, {"attention_mse": 1}), attending(0.0), attending(math.log(3)), BATCH)
    assert found.item() == pytest.approx(0.25**2), "a half and a half beside a quarter and three quarters"


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"class_kl": 1}, "tune: wanted a temperature beside class_kl"), ({"clas": 1}, "unknown loss 'clas'")],
)
def test_a_lesson_that_lacks_something_is_refused(weights, message, tmp_path):
    with pytest.raises(HarnessError, match=message):
        lesson(tmp_path, weights)


@pytest.fixture
def run(make_model, tokenizer, sorted_texts, tmp_path):
    checkpoint.save_checkpoint(make_model(), tokenizer, tmp_path / "student")

    def run(taught_by=None, **changes):
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
            lesson=taught_by,
        )

    return run


@pytest.fixture
def taught(run, tokenizer, tmp_path):
    """A teacher fine-tuned on the task; the student is the encoder it was."""
    tuned = run()
    checkpoint.save_checkpoint(tuned.model, tokenizer, tmp_path / "taught")
    return tuned


def test_a_student_that_begins_as_its_teacher_computes_the_same(taught, sorted_texts, tmp_path):
    student = finetuning.task_model(tmp_path / "student", sorted_texts).eval()
    depth = student.config.num_hidden_layers
    rows = {"input_ids": torch.tensor([[2, 5, 6, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    with torch.no_grad():
        wanted = taught.model(**rows).logits
        start_as(student, taught.model, tuple(range(depth)))
        assert torch.equal(student(**rows).logits, wanted)
        start_as(student, taught.model, tuple(reversed(range(depth))))
        assert not torch.equal(student(**rows).logits, wanted)


@pytest.mark.usefixtures("taught")
def test_a_lesson_changes_what_is_learnt_and_repeats_itself(run, tmp_path):
    new = lesson(tmp_path, {"class_mse": 1, "patient": 10, "attention_mse": 1, "embedding_mse": 1})
    weights = [
        run(one).model.state_dict()["classifier.weight"]
        for one in (new, new, lesson(tmp_path, {"labels": 1}), None)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2])
    assert torch.allclose(weights[2], weights[3], atol=1e-5), "labels alone is plain fine-tuning"


def test_an_untrained_student_that_begins_as_its_teacher_says_what_it_says(taught, run, tmp_path):
    depth = taught.model.config.num_hidden_layers
    begun = lesson(tmp_path, {"class_mse": 1}, kept_layers=tuple(range(depth)))
    assert run(begun, learning_rate=1e-12).predictions == taught.predictions
