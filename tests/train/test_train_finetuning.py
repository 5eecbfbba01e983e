"""Fine-tuning: encoded examples, predictions in order, the best epoch, equal runs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn
from transformers import PreTrainedTokenizerFast, Trainer

from harness.data.batches import IGNORED
from harness.data.examples import TaskData, TextExample, TokenExample
from harness.errors import HarnessError
from harness.models.loading import checkpoint
from harness.tasks import TASKS
from harness.train.finetuning import finetune as finetuning
from harness.train.finetuning.distillation import TaskDistillation
from harness.train.finetuning.encoding import encode_examples, pad_rows, split_words
from harness.train.finetuning.finetune import finetune, predict_test
from harness.train.finetuning.prediction import predict_labels
from harness.train.finetuning.protocol import Protocol, choose_epochs
from harness.train.trainer import DivergedError

PROTOCOL = Protocol(
    epochs=3,
    learning_rate=5e-3,
    batch_size=8,
    warmup_fraction=0.1,
    weight_decay=0.01,
    max_length=16,
    precision="fp32",
)


@pytest.fixture
def saved(request, make_model, tokenizer, tmp_path):
    checkpoint.save_checkpoint(make_model(getattr(request, "param", "bert")), tokenizer, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def tune(saved, tokenizer, tmp_path):
    def tune(data, seed=1, score=None, distillation=None, **changes):
        protocol = Protocol(**(vars(PROTOCOL) | changes))
        return finetune(
            saved,
            tokenizer,
            data,
            protocol=protocol,
            seed=seed,
            score=score or (lambda _: 0.0),
            folder=tmp_path / "scratch",
            distillation=distillation,
        )

    return tune


def measure_accuracy(data, predictions, part="test"):
    gold = [example.labels for example in getattr(data, part)]
    predicted = [labels if isinstance(labels, list) else [labels] for labels in predictions]
    pairs = [
        pair for one, other in zip(gold, predicted, strict=True) for pair in zip(one, other, strict=True)
    ]
    return sum(one == other for one, other in pairs) / len(pairs)


def sentence(*words):
    return TokenExample(words, tuple("NOUN" for _ in words))


def make_task(*examples):
    return TaskData(TASKS["pos"], "mt", ("NOUN", "VERB"), examples, examples, examples)


def test_a_words_label_is_on_its_first_sub_word(tokenizer, tagged):
    encoded = encode_examples(tagged.train, tagged, tokenizer, 64)
    assert encoded.owners == list(range(40))
    for row, example in zip(encoded.rows, tagged.train, strict=True):
        alone = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in example.words]
        assert row["input_ids"] == [2, *(token for word in alone for token in word), 3]
        places = np.cumsum([1, *(len(word) for word in alone)])[:-1]
        expected = np.full(len(row["input_ids"]), IGNORED)
        expected[places] = [tagged.labels.index(label) for label in example.labels]
        assert row["labels"] == expected.tolist()
        assert row["length"] == len(row["input_ids"])


def test_token_types_mark_the_second_text_of_a_pair(tokenizer):
    pairs = (TextExample("kami tora", "yes", "nufa"), TextExample("kami", "no", "nufa kami tora"))
    data = TaskData(TASKS["nli"], "mt", ("no", "yes"), pairs, pairs, pairs)
    batch = pad_rows(encode_examples(pairs, data, tokenizer, 24, typed=True).rows, 0)
    ends = [row.nonzero().flatten().tolist() for row in batch["input_ids"] == tokenizer.sep_token_id]
    for types_L, (first, second) in zip(batch["token_type_ids"], ends, strict=True):
        expected = [int(first < place <= second) for place in range(len(types_L))]
        assert types_L.tolist() == expected
    assert "token_type_ids" not in pad_rows(encode_examples(pairs, data, tokenizer, 24).rows, 0)


@pytest.mark.parametrize("max_length", [5, 7, 11])
def test_a_long_sentence_is_cut_between_words(max_length, tokenizer, tagged):
    encoded = encode_examples(tagged.train, tagged, tokenizer, max_length)
    assert max(row["length"] for row in encoded.rows) <= max_length
    assert len(encoded.rows) > 40
    assert encoded.owners == sorted(encoded.owners)
    for owner, example in enumerate(tagged.train):
        mine = [row for row, of in zip(encoded.rows, encoded.owners, strict=True) if of == owner]
        labels = [label for row in mine for label in row["labels"] if label != IGNORED]
        assert [tagged.labels[label] for label in labels] == list(example.labels)
        assert all(row["labels"][1] != IGNORED for row in mine), (
            "a window begins with a word's first sub-word"
        )


def test_a_word_longer_than_a_row_is_shortened(tokenizer):
    data = make_task(sentence("kami", "ka" * 30, "tora"))
    encoded = encode_examples(data.train, data, tokenizer, 8)
    assert [row["length"] for row in encoded.rows][1] == 8
    assert sum(label != IGNORED for row in encoded.rows for label in row["labels"]) == 3


@pytest.mark.parametrize("empty", ["\u200b", "\ufeff", "\x07", " "], ids=ascii)
def test_a_word_without_sub_words_becomes_the_unknown_token(empty, tokenizer):
    assert tokenizer(empty, add_special_tokens=False)["input_ids"] == []
    data = make_task(sentence("kami", empty, "tora"), sentence(empty))
    encoded = encode_examples(data.train, data, tokenizer, 16)
    assert encoded.rows[1]["input_ids"] == [2, tokenizer.unk_token_id, 3]
    labels = [[label for label in row["labels"] if label != IGNORED] for row in encoded.rows]
    assert labels == [[0, 0, 0], [0]]


def test_a_long_text_is_truncated(tokenizer):
    data = TaskData(TASKS["topic"], "mt", ("a", "b"), (TextExample("kami tora " * 30, "b"),), (), ())
    encoded = encode_examples(data.train, data, tokenizer, 12)
    assert encoded.rows[0]["length"] == len(encoded.rows[0]["input_ids"]) == 12
    assert encoded.rows[0]["labels"] == 1


def test_a_label_absent_from_training_is_refused(tokenizer):
    data = TaskData(TASKS["topic"], "mt", ("a", "b"), (), (TextExample("kami", "c"),), ())
    with pytest.raises(
        HarnessError, match=r"topic: expected labels of the training part \(a, b\); got 'c'; correct"
    ):
        encode_examples(data.dev, data, tokenizer, 12)


def test_padding_has_no_label(tokenizer, tagged):
    rows = encode_examples(tagged.train[:5], tagged, tokenizer, 64).rows
    batch = pad_rows(rows, tokenizer.pad_token_id)
    for place, row in enumerate(rows):
        length = row["length"]
        assert batch["input_ids"][place, :length].tolist() == row["input_ids"]
        assert batch["attention_mask"][place].tolist() == [1] * length + [0] * (
            batch["input_ids"].shape[1] - length
        )
        assert (batch["labels"][place, length:] == IGNORED).all()


class ParityModel(nn.Module):
    """Predict whether token ids are odd; for a text, whether its second token id is."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, attention_mask):
        assert not self.training
        assert attention_mask.shape == input_ids.shape
        logits_BLC = nn.functional.one_hot(input_ids % 2, 2).float()
        return SimpleNamespace(logits=logits_BLC if self.kind == "token" else logits_BLC[:, 1])


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("kind", ["token", "sequence"])
def test_predictions_follow_the_order_of_the_examples(kind, batch_size, tokenizer, tagged, sorted_texts):
    data = tagged if kind == "token" else sorted_texts
    encoded = encode_examples(data.test, data, tokenizer, 7)
    predictions = predict_labels(ParityModel(kind).train(), encoded, data, batch_size)
    first = lambda word: tokenizer(word, add_special_tokens=False)["input_ids"][0] % 2  # noqa: E731
    if kind == "token":
        assert predictions == [[data.labels[first(word)] for word in example.words] for example in data.test]
    else:
        assert predictions == [data.labels[first(example.text)] for example in data.test]


@pytest.mark.parametrize("kind", ["token", "sequence"])
def test_finetuning_learns_and_prints_nothing(kind, tune, tagged, sorted_texts, capfd):
    data = tagged if kind == "token" else sorted_texts
    tuned = tune(
        data, epochs=12, learning_rate=2e-2, score=lambda labels: measure_accuracy(data, labels, "dev")
    )
    assert measure_accuracy(data, tuned.dev_predictions, "dev") > 0.85
    assert len(tuned.dev_scores) == 12
    assert not tuned.model.training
    assert tuned.model.config.id2label == dict(enumerate(data.labels))
    assert capfd.readouterr() == ("", "")


def test_the_first_best_epoch_is_kept(tune, sorted_texts, monkeypatch, weights_of):
    models, states, scores = [], [], iter([0.1, 0.5, 0.5, 0.2])
    real = finetuning.load_task_model

    def load_task_model(*given):
        models.append(real(*given))
        return models[-1]

    def score(labels):
        assert len(labels) == len(sorted_texts.dev)
        states.append(weights_of(models[-1]))
        return next(scores)

    monkeypatch.setattr(finetuning, "load_task_model", load_task_model)
    tuned = tune(sorted_texts, epochs=4, score=score)
    assert (tuned.best_epoch, tuned.dev_scores) == (2, [0.1, 0.5, 0.5, 0.2])
    table = "bert.embeddings.word_embeddings.weight"  # while it is trained, only the used rows
    same = [
        all(
            torch.equal(one[name], value) for name, value in tuned.model.state_dict().items() if name != table
        )
        for one in states
    ]
    assert same == [False, True, False, False]


def test_patience_ends_training_early(tune, sorted_texts):
    scores = iter([0.1, 0.5, 0.4, 0.5, 0.9])
    tuned = tune(sorted_texts, epochs=5, patience=2, score=lambda _: next(scores))
    assert (tuned.best_epoch, tuned.dev_scores) == (2, [0.1, 0.5, 0.4, 0.5])


@pytest.mark.parametrize(
    ("max_examples", "min_steps", "num_train", "chosen"),
    [
        (None, None, 9, (3, None)),
        (27, None, 9, (3, None)),
        (26, None, 9, (2, None)),
        (9, None, 9, (2, None)),
        (5, None, 9, (2, None)),
        (5, None, 0, (3, None)),
        (None, 6, 8, (3, None)),
        (None, 7, 8, (4, 2)),
        (None, 20, 8, (10, 4)),
        (16, 20, 8, (10, 4)),
    ],
)
def test_choose_epochs_suits_the_size_of_the_task(max_examples, min_steps, num_train, chosen):
    """Steps of four examples, three epochs as a rule."""
    assert choose_epochs(3, num_train, 4, max_examples=max_examples, min_steps=min_steps) == chosen


def test_a_single_epoch_stays_single():
    assert choose_epochs(1, 100, 4, max_examples=10, min_steps=None) == (1, None)


def test_dev_is_scored_every_few_epochs_and_after_the_last(tune, sorted_texts):
    scores = iter([0.1, 0.5, 0.2])
    tuned = tune(sorted_texts, epochs=5, evaluate_every=2, score=lambda _: next(scores))
    assert (tuned.best_epoch, tuned.dev_scores, tuned.best_score) == (4, [0.1, 0.5, 0.2], 0.5)


def test_patience_counts_epochs_between_scores(tune, sorted_texts):
    scores = iter([0.5, 0.1, 0.2])
    tuned = tune(sorted_texts, epochs=8, evaluate_every=2, patience=3, score=lambda _: next(scores))
    assert (tuned.best_epoch, tuned.dev_scores) == (2, [0.5, 0.1, 0.2])


@pytest.mark.parametrize("distilled", [False, True])
def test_a_diverging_finetuning_is_refused(distilled, tune, sorted_texts, saved, tokenizer):
    distillation = None
    if distilled:
        checkpoint.save_checkpoint(tune(sorted_texts, epochs=1).model, tokenizer, saved.parent / "teacher")
        distillation = TaskDistillation((saved.parent / "teacher",), {"class_mse": 1.0})
    with pytest.raises(DivergedError, match=r"training: expected a finite loss; got (nan|inf)"):
        tune(sorted_texts, learning_rate=1e30, distillation=distillation)


def test_finetuning_leaves_no_file(tune, sorted_texts, tmp_path):
    tune(sorted_texts, epochs=1)
    assert not (tmp_path / "scratch").exists()


def test_predict_test_predicts_the_test_part(tune, tokenizer, sorted_texts):
    model = tune(sorted_texts, epochs=1).model
    test = encode_examples(sorted_texts.test, sorted_texts, tokenizer, PROTOCOL.max_length)
    expected = predict_labels(model, test, sorted_texts, PROTOCOL.batch_size)
    assert predict_test(model, tokenizer, sorted_texts, PROTOCOL) == expected


def test_finetuning_predicts_the_dev_part_alone(tune, sorted_texts, monkeypatch):
    read = []
    real = finetuning.predict_labels

    def predict_labels(model, encoded, *given):
        read.append(encoded.num_examples)
        return real(model, encoded, *given)

    monkeypatch.setattr(finetuning, "predict_labels", predict_labels)
    tune(sorted_texts)
    assert read == [20, 20, 20]


def test_dev_predictions_are_those_of_the_best_epoch(tune, tokenizer, sorted_texts):
    scores = iter([0.1, 0.5, 0.2])
    tuned = tune(sorted_texts, score=lambda _: next(scores))
    dev = encode_examples(sorted_texts.dev, sorted_texts, tokenizer, PROTOCOL.max_length)
    assert tuned.dev_predictions == predict_labels(tuned.model, dev, sorted_texts, PROTOCOL.batch_size)


def test_models_depend_on_the_seed_alone(tune, tagged):
    one, again = tune(tagged, epochs=1), tune(tagged, epochs=1)
    other = tune(tagged, seed=2, epochs=1)
    assert one.dev_predictions == again.dev_predictions
    states = [tuned.model.state_dict() for tuned in (one, again, other)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0]["classifier.weight"], states[2]["classifier.weight"])


def test_the_task_model_has_the_checkpoints_encoder(saved, tokenizer, tagged, make_model):
    model = finetuning.load_task_model(saved, tagged)
    kept = make_model().state_dict()
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items() if name in kept)
    assert model.classifier.weight.shape == (2, 16)


def test_bf16_finetuning_keeps_weights_in_fp32(tune, sorted_texts):
    tuned = tune(sorted_texts, epochs=1, precision="bf16")
    assert {parameter.dtype for parameter in tuned.model.parameters()} == {torch.float32}
    assert len(tuned.dev_predictions) == 20


@pytest.mark.parametrize("method", ["full", "adapter", "lora", "sft"])
def test_predictions_are_computed_in_fp32(method, tune, sorted_texts, monkeypatch):
    dtypes = {"training": set(), "predicting": set()}
    real, doing = finetuning.predict_labels, ["training"]

    def predict_labels(*given):
        doing.append("predicting")
        try:
            return real(*given)
        finally:
            doing.pop()

    def load_recorded(*given):
        model = load_task_model(*given)
        layer = next(one for one in model.modules() if isinstance(one, nn.Linear))
        layer.register_forward_hook(lambda _, __, out: dtypes[doing[-1]].add(out.dtype))
        return model

    load_task_model = finetuning.load_task_model
    monkeypatch.setattr(finetuning, "load_task_model", load_recorded)
    monkeypatch.setattr(finetuning, "predict_labels", predict_labels)
    tuned = tune(sorted_texts, epochs=2, precision="bf16", method=method)
    assert dtypes == {"training": {torch.bfloat16}, "predicting": {torch.float32}}
    assert "forward" not in vars(tuned.model), "the returned model keeps no wrapper of the training"


def test_a_second_gpu_changes_no_batch(tmp_path, tagged, make_model):
    settings = finetuning._make_arguments(tmp_path, PROTOCOL, 1)
    settings._n_gpu = 2  # what the library finds where two GPUs are
    assert (settings.n_gpu, settings.train_batch_size) == (1, PROTOCOL.batch_size)
    model = make_model()
    trainer = Trainer(
        model=model,
        args=settings,
        train_dataset=[{"input_ids": [2, 5, 3], "length": 3}] * 40,
        data_collator=list,
    )
    trainer.model_wrapped = model
    assert {len(rows) for rows in trainer.get_train_dataloader()} == {PROTOCOL.batch_size}
    assert trainer._wrap_model(model) is model


@pytest.fixture
def pairs(sorted_texts):
    """Pairs of texts, of which the second is the longer."""

    def part(examples):
        return tuple(TextExample(one.text[:9], one.label, one.text) for one in examples)

    parts = {name: part(getattr(sorted_texts, name)) for name in ("train", "dev", "test")}
    return TaskData(TASKS["nli"], "mt", sorted_texts.labels, **parts)


@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize("saved", ["bert", "xlm-roberta"], indirect=True)
def test_training_and_prediction_read_the_same_token_types(saved, distilled, tune, pairs, monkeypatch):
    types = checkpoint.load_checkpoint(saved).model.config.type_vocab_size
    distillation = None
    if distilled:
        checkpoint.save_checkpoint(
            tune(pairs, epochs=1).model, checkpoint.load_checkpoint(saved).tokenizer, saved.parent / "teacher"
        )
        distillation = TaskDistillation((saved.parent / "teacher",), {"class_kl": 1.0}, temperature=2.0)
    calls, load_task_model = [], finetuning.load_task_model

    def load_recorded(*given):
        model = load_task_model(*given)
        model.register_forward_pre_hook(
            lambda model, _, given: calls.append((model.training, given.get("token_type_ids"))),
            with_kwargs=True,
        )
        return model

    monkeypatch.setattr(finetuning, "load_task_model", load_recorded)
    tune(pairs, epochs=1, distillation=distillation)
    assert {training for training, _ in calls} == {True, False}
    if types == 1:
        assert all(types_BL is None for _, types_BL in calls)
    else:
        assert all(types_BL is not None and types_BL.any() for _, types_BL in calls)


def byte_level(*, prefix: bool, trim: bool, merges: list[tuple[str, str]]):
    """Return a byte-level tokenizer such as RoBERTa's and ModernBERT's, with few merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<s>", "<pad>", "</s>", "<unk>", *alphabet, *(first + second for first, second in merges)]
    backend = Tokenizer(models.BPE({name: place for place, name in enumerate(names)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix, trim_offsets=trim)
    backend.post_processor = processors.ByteLevel(trim_offsets=trim)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


@pytest.mark.parametrize("trim", [False, True])
@pytest.mark.parametrize("prefix", [False, True])
def test_byte_level_words_are_split_as_in_a_text(prefix, trim):
    merges = [("Ġ", "s"), ("Ġs", "e"), ("s", "e"), ("Ġ", "c")]
    tokenizer = byte_level(prefix=prefix, trim=trim, merges=merges)
    words = ("se", "see", "jġri", "l' 1", "cat", "👍", "x")
    pieces = split_words(words, tokenizer, 60)
    tokens = [tokenizer.convert_ids_to_tokens(piece) for piece in pieces]
    assert tokens[:2] == [["Ġse" if prefix else "se"], ["Ġse", "e"]]
    assert tokens[4] == ["Ġc", "a", "t"]
    in_text = tokenizer(" ".join(words), add_special_tokens=False)["input_ids"]
    assert [token for piece in pieces for token in piece] == in_text
    assert [tokenizer.decode(piece).strip() for piece in pieces] == list(words)
    with_empty = split_words(("", "se", ""), tokenizer, 60)
    assert [len(piece) for piece in with_empty] == [1, 1, 1], "each word has a place for its label"
