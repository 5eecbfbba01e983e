"""Fine-tuning with the used rows of the word embeddings equals fine-tuning with the whole table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForTokenClassification

from harness.data.examples import TaskData
from harness.families import FAMILIES, list_families
from harness.models.loading import checkpoint
from harness.train.finetuning import finetune as finetuning
from harness.train.finetuning.distillation import TaskDistillation
from harness.train.finetuning.encoding import EncodedExamples, encode_examples
from harness.train.finetuning.finetune import finetune, load_task_model, predict_test
from harness.train.finetuning.protocol import Protocol
from harness.train.finetuning.used_rows import UsedRows, train_used_rows

PROTOCOL = Protocol(
    epochs=3,
    learning_rate=5e-3,
    batch_size=8,
    warmup_fraction=0.1,
    weight_decay=1.0,
    max_length=16,
    precision="fp32",
)


@pytest.fixture
def few_words(tagged) -> TaskData:
    """Return sentences of train and dev that leave most of the vocabulary out; test has every word."""

    def select(examples):
        return tuple(
            replace(one, words=tuple("kaka" if label == "NOUN" else "tora" for label in one.labels))
            for one in examples
        )

    return replace(tagged, train=select(tagged.train), dev=select(tagged.dev))


@pytest.fixture
def save(make_model, tokenizer, tmp_path):
    def save(family):
        checkpoint.save_checkpoint(make_model(family), tokenizer, tmp_path / family)
        return tmp_path / family

    return save


@pytest.fixture
def tune_both(monkeypatch, tokenizer, few_words):
    """Return a function that fine-tunes with the used rows, and with the whole table."""

    def tune_both(folder, scores, distillation=None, **changes):
        def tune():
            remaining = iter(scores)
            return finetune(
                folder,
                tokenizer,
                few_words,
                protocol=replace(PROTOCOL, **changes),
                seed=1,
                score=lambda _: next(remaining),
                folder=folder.parent / "scratch",
                distillation=distillation,
            )

        one = tune()
        with monkeypatch.context() as patched:
            patched.setattr(finetuning, "train_used_rows", lambda *_: None)
            return one, tune()

    return tune_both


@pytest.fixture
def assert_equal_results(tokenizer, few_words):
    def assert_equal_results(one, other):
        assert one.dev_predictions == other.dev_predictions
        tests = [predict_test(tuned.model, tokenizer, few_words, PROTOCOL) for tuned in (one, other)]
        assert tests[0] == tests[1]
        expected = other.model.state_dict()
        assert [*one.model.state_dict()] == [*expected]
        for name, value in one.model.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
        assert (one.num_trained, one.best_epoch) == (other.num_trained, other.best_epoch)

    return assert_equal_results


@pytest.mark.parametrize(
    ("family", "scores"),
    [("bert", (0.1, 0.2, 0.3)), ("bert", (0.1, 0.5, 0.2)), ("xlm-roberta", (0.3, 0.2, 0.1))],
)
def test_used_rows_give_the_whole_tables_results(family, scores, save, tune_both, assert_equal_results):
    folder = save(family)
    one, other = tune_both(folder, scores)
    assert_equal_results(one, other)
    before = checkpoint.load_checkpoint(folder).model.get_input_embeddings().weight
    shrunk = one.model.get_input_embeddings().weight / before
    assert shrunk.median() < 0.99, "most rows are in no text, and shrink by the weight decay"


def test_used_rows_serve_a_distilled_task_in_bf16(save, tune_both, assert_equal_results):
    folder = save("bert")
    teacher, _ = tune_both(folder, (0.1, 0.2, 0.3))
    tokenizer = checkpoint.load_checkpoint(folder).tokenizer
    checkpoint.save_checkpoint(teacher.model, tokenizer, folder.parent / "teacher")
    distillation = TaskDistillation((folder.parent / "teacher",), {"class_mse": 1.0, "embedding_mse": 1.0})
    one, other = tune_both(folder, (0.1, 0.2, 0.3), distillation, weight_decay=0.0, precision="bf16")
    assert_equal_results(one, other)


def test_used_rows_have_the_vectors_and_the_padding_of_the_table():
    table = nn.Embedding(9, 4, padding_idx=1)
    rows = UsedRows(table, torch.tensor([1, 4, 7]))
    ids = torch.tensor([[4, 7, 1], [7, 4, 4]])
    assert torch.equal(rows(ids), table(ids))
    rows(ids).sum().backward()
    assert rows.weight.grad[0].abs().sum() == 0
    with pytest.raises(IndexError):
        rows(torch.tensor([3]))


def test_padding_is_among_the_used_rows(save, tokenizer, few_words):
    model = load_task_model(save("xlm-roberta"), few_words)
    encoded = encode_examples(few_words.train, few_words, tokenizer, 16)
    training = train_used_rows(model, [encoded])
    named = {token for row in encoded.rows for token in row["input_ids"]}
    assert {*training.ids_U.tolist()} == named | {encoded.pad_id, model.config.pad_token_id}


SIZES = {"vocabulary": 90, "hidden": 16, "layers": 2, "heads": 2, "ffn": 24, "positions": 40}


@pytest.mark.parametrize("family", list_families("score"))
def test_models_of_every_family_compute_the_same_with_their_used_rows(family):
    row = FAMILIES[family]
    sizes = {key: SIZES[name] for name, key in row.keys.items() if name in SIZES}
    config = AutoConfig.for_model(family, **sizes, pad_token_id=row.padding_id % 90)
    model = AutoModelForTokenClassification.from_config(config).eval()
    ids_BL = torch.tensor([[2, 7, 5, 3], [2, 7, 3, config.pad_token_id]])
    inputs = {"input_ids": ids_BL, "attention_mask": (ids_BL != config.pad_token_id).long()}
    expected = model(**inputs).logits
    examples = EncodedExamples([{"input_ids": [2, 7, 5, 3]}], [0], 1, config.pad_token_id)
    training = train_used_rows(model, [examples])
    assert len(training.ids_U) == 5
    assert torch.equal(model(**inputs).logits, expected)
    training.put_back(model)
    assert torch.equal(model(**inputs).logits, expected)


def frozen(model):
    model.get_input_embeddings().weight.requires_grad_(requires_grad=False)


def bounded(model):
    model.get_input_embeddings().max_norm = 1.0


def shared(model):
    model.classifier.decoder = nn.Linear(16, len(model.get_input_embeddings().weight), bias=False)
    model.classifier.decoder.weight = model.get_input_embeddings().weight


def of_another_class(model):
    model.get_input_embeddings().__class__ = type("Scaled", (nn.Embedding,), {})


def unnamed(model):
    def refuse():
        raise NotImplementedError

    model.get_input_embeddings = refuse


@pytest.mark.parametrize("change", [frozen, bounded, shared, of_another_class, unnamed])
def test_another_table_is_trained_whole(change, save, tagged):
    model = load_task_model(save("bert"), tagged)
    change(model)
    before = [name for name, _ in model.named_modules()]
    assert train_used_rows(model, [EncodedExamples([{"input_ids": np.array([1])}], [0], 1, 0)]) is None
    assert [name for name, _ in model.named_modules()] == before
