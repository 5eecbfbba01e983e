"""Logits of fine-tuned teachers: stored with each row, and learned from as if the teachers ran."""

from __future__ import annotations

import pytest
import torch

from harness.data.batches import IGNORED
from harness.data.examples import TextExample, TokenExample
from harness.models.loading import checkpoint
from harness.models.tokenizers import train_wordpiece
from harness.train.finetuning.distillation import TaskDistillation
from harness.train.finetuning.encoding import encode_examples, pad_rows
from harness.train.finetuning.finetune import finetune, load_task_model
from harness.train.finetuning.protocol import Protocol
from harness.train.finetuning.task_training import TaskTraining
from harness.train.finetuning.teacher_logits import encode_with_logits, make_examples

PROTOCOL = Protocol(
    epochs=4,
    learning_rate=5e-3,
    batch_size=8,
    warmup_fraction=0.1,
    weight_decay=0.0,
    max_length=16,
    precision="fp32",
)


@pytest.fixture(params=["tagged", "sorted_texts"])
def data(request):
    return request.getfixturevalue(request.param)


def count_right(labels, data):
    """Count the texts or words of the dev part with the right label."""
    pairs = zip(labels, data.dev, strict=True)
    if data.task.kind == "sequence":
        return sum(one == example.label for one, example in pairs)
    return sum(
        one == two for sentence, example in pairs for one, two in zip(sentence, example.labels, strict=True)
    )


@pytest.fixture
def make_teacher(make_model, tokenizer, tmp_path):
    """Return a function that fine-tunes a model with a seed and returns its folder."""
    checkpoint.save_checkpoint(make_model(), tokenizer, tmp_path / "encoder")

    def make(data, seed):
        tuned = finetune(
            tmp_path / "encoder",
            tokenizer,
            data,
            protocol=PROTOCOL,
            seed=seed,
            score=lambda labels: count_right(labels, data),
            folder=tmp_path / "scratch",
        )
        checkpoint.save_checkpoint(tuned.model, tokenizer, tmp_path / f"teacher-{seed}")
        return tmp_path / f"teacher-{seed}"

    return make


def compute_logits(folder, row, data):
    """Compute the logits of one row's text or labelled words."""
    model = load_task_model(folder, data).eval()
    batch = pad_rows([row], 0)
    labels = batch.pop("labels")
    with torch.no_grad():
        return model(**batch).logits[labels != IGNORED]


def test_rows_have_the_mean_of_the_teachers_logits(data, make_teacher, tokenizer):
    teachers = [make_teacher(data, seed) for seed in (1, 2)]
    encoded = encode_with_logits(data.dev, data, tokenizer, PROTOCOL, teachers=teachers)
    plain = encode_examples(data.dev, data, tokenizer, PROTOCOL.max_length)
    assert [row["input_ids"] for row in encoded.rows] == [row["input_ids"] for row in plain.rows]
    for row, bare in zip(encoded.rows[:5], plain.rows, strict=False):
        one, two = (compute_logits(folder, bare, data) for folder in teachers)
        assert not torch.allclose(one, two)
        assert torch.allclose(row["teacher_logits"], (one + two) / 2, atol=1e-5)


def test_stored_logits_teach_what_a_running_teacher_does(data, make_teacher, tokenizer, tmp_path):
    folder = make_teacher(data, 1)
    rows = encode_with_logits(data.train, data, tokenizer, PROTOCOL, teachers=[folder])

    def train(**more):
        tuned = finetune(
            tmp_path / "encoder",
            tokenizer,
            data,
            protocol=PROTOCOL,
            seed=3,
            score=lambda _: 0.0,
            folder=tmp_path / "scratch",
            **more,
        )
        return tuned.model.state_dict()

    losses = {"labels": 0.5, "class_kl": 0.5}
    running = train(distillation=TaskDistillation((folder,), losses, temperature=2))
    stored = train(distillation=TaskDistillation((folder,), losses, temperature=2, text_lines=9), train=rows)
    untaught = train()
    head = "classifier.weight"
    assert torch.allclose(stored[head], running[head], atol=1e-4)
    assert not torch.allclose(stored[head], untaught[head], atol=1e-4)


def test_a_teacher_may_have_another_tokenizer(data, make_teacher, documents, tokenizer):
    folder = make_teacher(data, 1)
    lines = [line for document in documents for line in document]
    other = train_wordpiece(lines, 60, 64)
    of_teacher = encode_with_logits(data.dev, data, tokenizer, PROTOCOL, teachers=[folder])
    of_student = encode_with_logits(data.dev, data, other, PROTOCOL, teachers=[folder])
    assert [row["input_ids"] for row in of_teacher.rows] != [row["input_ids"] for row in of_student.rows]
    one, two = (torch.cat([row["teacher_logits"] for row in rows.rows]) for rows in (of_teacher, of_student))
    assert torch.equal(one, two)


def test_lines_become_examples(tagged, sorted_texts):
    lines = ["Kati mira, to!", "  ", "nusel"]
    assert make_examples(lines, sorted_texts) == tuple(
        TextExample(line, sorted_texts.labels[0]) for line in lines
    )
    words = [example.words for example in make_examples(lines, tagged)]
    assert words == [("Kati", "mira", ",", "to", "!"), ("nusel",)]
    assert all(isinstance(example, TokenExample) for example in make_examples(lines, tagged))


def test_a_student_learns_a_task_from_labelled_text_alone(
    make_teacher, tagged, documents, tokenizer, tmp_path
):
    folder = make_teacher(tagged, 1)
    training = TaskTraining(
        tmp_path / "encoder",
        tokenizer,
        tagged,
        PROTOCOL,
        lambda labels: count_right(labels, tagged),
        tmp_path / "scratch",
        TaskDistillation((folder,), {"labels": 0.5, "class_kl": 0.5}, temperature=1, text_lines=200),
    )
    lines = [line for document in documents for line in document]
    training = training.label(lines, PROTOCOL)
    assert training.text.num_lines == len(lines)
    assert len(training.text.rows.owners) == len(training.text.rows.rows)
    assert max(training.text.rows.owners) == training.text.rows.num_examples - 1
    taught = training.learn_from_text(1, tmp_path / "text-1")
    start = taught.folder
    assert taught.dev_score > 0.8 * sum(len(sentence.words) for sentence in tagged.dev)
    assert training.learn_from_text(1, start) == taught, "it is read where it is"
    assert load_task_model(start, tagged).config.id2label == dict(enumerate(tagged.labels))
    weights = load_task_model(start, tagged).state_dict()["classifier.weight"]
    tuned = training.finetune(start, 1, 1e-9).model.state_dict()["classifier.weight"]
    assert torch.allclose(tuned, weights, atol=1e-6), "fine-tuning goes on from what the text taught"
    ruined = training.finetune(start, 1, 1.0)
    assert ruined.best_epoch == 0
    assert torch.equal(ruined.model.state_dict()["classifier.weight"], weights), "no epoch was better"
    training.remove_files()
    assert not (tmp_path / "scratch").exists()


def test_the_gold_labels_of_text_are_not_learned(tmp_path):
    both = TaskDistillation((tmp_path,), {"labels": 0.5, "class_kl": 0.5}, temperature=1, text_lines=9)
    assert both.for_text().weights == {"class_kl": 0.5}
    assert "9 lines" in str(both)


def test_a_trainer_without_a_teacher_needs_stored_logits(data, make_teacher, tokenizer, tmp_path):
    folder = make_teacher(data, 1)
    distillation = TaskDistillation((folder, folder), {"class_mse": 1})
    with pytest.raises(TypeError, match="teacher_logits"):
        finetune(
            tmp_path / "encoder",
            tokenizer,
            data,
            protocol=PROTOCOL,
            seed=3,
            score=lambda _: 0.0,
            folder=tmp_path / "scratch",
            distillation=distillation,
        )
