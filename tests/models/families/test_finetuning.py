"""Fine-tuning in each family: few weights or all, and task distillation with the teacher's own layers."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    XLMRobertaXLConfig,
)

from harness.config.losses import LOSSES, TASK_LOSSES
from harness.data.examples import TaskData, TextExample
from harness.families import FAMILIES
from harness.models.loading.checkpoint import save_checkpoint
from harness.models.surgery.axes import shorten
from harness.tasks import TASKS
from harness.train.finetuning.adapters import add_adapters, add_lora, count_trained, merge_lora
from harness.train.finetuning.distillation import TaskDistillation, copy_layers
from harness.train.finetuning.finetune import finetune, load_task_model, predict_test
from harness.train.finetuning.protocol import Protocol

PROTOCOL = Protocol(
    epochs=1,
    learning_rate=5e-4,
    batch_size=4,
    warmup_fraction=0.1,
    weight_decay=0.0,
    max_length=16,
    precision="fp32",
)


@pytest.fixture
def topics(lines) -> TaskData:
    examples = tuple(TextExample(line, label) for line, label in zip(lines, "ab" * 3, strict=False))
    return TaskData(TASKS["topic"], "mt", ("a", "b"), examples[:4], examples[4:], examples[4:])


@pytest.fixture
def folders(model, tokenizer, tmp_path):
    """The teacher, and a student of its layers 0 and 2."""
    save_checkpoint(model, tokenizer, tmp_path / "teacher")
    save_checkpoint(shorten(model, [0, 2]), tokenizer, tmp_path / "student")
    return tmp_path / "teacher", tmp_path / "student"


def test_student_learns_a_task_by_every_loss_that_fits(encoder, tokenizer, folders, topics, tmp_path):
    able = "attention" in FAMILIES[encoder.family].supports
    losses = {name: 0.1 for name in TASK_LOSSES if able or LOSSES[name].looks_at != "attention"}
    teacher, student = folders
    tuned = finetune(
        student,
        tokenizer,
        topics,
        protocol=PROTOCOL,
        seed=1,
        score=lambda labels: float(len(labels)),
        folder=tmp_path / "scratch",
        distillation=TaskDistillation((teacher,), losses, temperature=2, kept_layers=(0, 2)),
    )
    assert tuned.model.config.num_hidden_layers == 2
    assert all(one.isfinite().all() for one in tuned.model.parameters())


def test_encoder_that_is_only_scored_learns_a_task(unigram, topics, tmp_path):
    torch.manual_seed(5)
    config = XLMRobertaXLConfig(
        vocab_size=len(unigram),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=40,
    )
    AutoModel.from_config(config).save_pretrained(tmp_path / "large")
    scratch = tmp_path / "scratch"
    tuned = finetune(
        tmp_path / "large", unigram, topics, protocol=PROTOCOL, seed=1, score=len, folder=scratch
    )
    assert tuned.model.config.model_type == "xlm-roberta-xl"
    assert len(predict_test(tuned.model, unigram, topics, PROTOCOL)) == 2


def test_student_that_begins_as_the_tuned_teacher_has_its_layers(folders, topics, texts):
    teacher, student = (load_task_model(folder, topics) for folder in folders)
    copy_layers(student, teacher, (0, 2))
    expected = teacher.state_dict()
    for name, tensor in student.state_dict().items():
        source = name.replace(".1.", ".2.") if "layer" in name else name
        assert torch.equal(tensor, expected[source]), name


@pytest.mark.parametrize("stock", [AutoModelForSequenceClassification, AutoModelForTokenClassification])
def test_few_weights_are_trained_and_lora_is_merged(folders, texts, stock):
    rows = {name: texts[name] for name in ("input_ids", "attention_mask")}

    def load():
        torch.manual_seed(1)
        return stock.from_pretrained(folders[1], num_labels=2).eval()

    with torch.no_grad():
        expected = load()(**rows).logits
        for change in (lambda model: add_adapters(model, 4), lambda model: add_lora(model, 2)):
            changed = change(load())
            whole = sum(one.numel() for one in changed.parameters())
            assert 0 < count_trained(changed) < whole / 2
            assert torch.allclose(changed(**rows).logits, expected, atol=1e-5)
        merged = merge_lora(changed)
    assert type(merged) is type(load())
    assert merged.state_dict().keys() == load().state_dict().keys()
