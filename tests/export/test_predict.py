"""Words, spans and windows of predict.py, with a model whose outputs are stated."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from harness.export.predict import Predictor, join_spans, split_windows, split_words

LABELS = {0: "O", 1: "B-PER", 2: "I-PER"}


class Session:
    """Returns logits from a function of the ids, and keeps the lengths that it was given."""

    def __init__(self, compute):
        self.compute, self.lengths = compute, []

    def get_inputs(self):
        return [type("Input", (), {"name": "input_ids"})()]

    def run(self, _, inputs):
        ids = inputs["input_ids"][0].tolist()
        self.lengths.append(len(ids))
        return [np.array([self.compute(ids)], np.float32)]


def make_predictor(compute, *, max_tokens=8, labels=LABELS, paired=False):
    """Return a predictor with [CLS] and [SEP] whose tokens are words in capitals and small letters."""
    words = ["[CLS]", "[SEP]", "[UNK]", "Ann", "Lee", "runs", ".", "mt"]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    predictor = Predictor.__new__(Predictor)
    predictor.tokenizer, predictor.session, predictor.labels = tokenizer, Session(compute), dict(labels)
    predictor.max_tokens, predictor.paired, predictor.problem = max_tokens, paired, None
    return predictor


def tag(ids):
    """Return logits that call Ann the beginning and Lee the rest of a person."""
    return [[0, 9, 0] if one == 3 else [0, 0, 9] if one == 4 else [9, 0, 0] for one in ids]


def test_words_have_one_label_and_a_confidence():
    output = make_predictor(tag).label("Ann Lee runs.")
    assert [(word["word"], word["label"]) for word in output["words"]] == [
        ("Ann", "B-PER"), ("Lee", "I-PER"), ("runs", "O"), (".", "O"),
    ]  # fmt: skip
    assert all(0.99 < word["probability"] <= 1 for word in output["words"])
    assert output["spans"] == [
        {
            "text": "Ann Lee",
            "label": "PER",
            "probability": output["words"][0]["probability"],
            "start": 0,
            "end": 7,
        }
    ]


def test_labels_without_iob2_have_no_spans():
    assert set(make_predictor(tag, labels={0: "X", 1: "NOUN", 2: "VERB"}).label("Ann")) == {"words"}


def test_long_text_is_read_in_windows_and_keeps_its_labels():
    predictor = make_predictor(tag)
    output = predictor.label("runs Ann Lee . " * 7)
    assert [word["label"] for word in output["words"]] == ["O", "B-PER", "I-PER", "O"] * 7
    assert len(predictor.session.lengths) > 3
    assert max(predictor.session.lengths) <= predictor.max_tokens
    assert len(output["spans"]) == 7


def test_class_of_a_long_text_is_the_mean_of_its_windows():
    predictor = make_predictor(lambda ids: [1.0, 0.0, 0.0] if 3 in ids else [0.0, 2.0, 0.0])
    assert predictor.label("Ann")["label"] == "O"
    assert predictor.label("runs " * 20 + "Ann")["label"] == "B-PER"
    assert len(predictor.session.lengths) > 2


@pytest.mark.parametrize(
    ("text", "paired", "message"),
    [
        (" ", False, "expected a text; got an empty one"),
        ("Ann", True, "expected two texts with a tab between them"),
        ("Ann\t" + "runs " * 9, True, "expected 8 tokens at most; got 13; cut the texts"),
    ],
)
def test_texts_that_cannot_be_read_are_refused(text, paired, message):
    with pytest.raises(ValueError, match=message):
        make_predictor(tag, paired=paired).label(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Il-kelb ta' Malta.", ["Il-kelb", "ta'", "Malta", "."]),
        ("He said 'hello world' twice", ["He", "said", "'", "hello", "world", "'", "twice"]),
        ("हिन्दी भाषा।", ["हिन्दी", "भाषा", "।"]),
        ("a.b. 3.14 don't - x", ["a.b", ".", "3.14", "don't", "-", "x"]),
        ("  ", []),
    ],
)
def test_words_are_split(text, words):
    assert [text[start:end] for start, end in split_words(text)] == words


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7, 13, 100])
def test_windows_cover_everything_and_overlap(count):
    windows = split_windows(count, 6)
    assert {place for start, stop in windows for place in range(start, stop)} == set(range(count))
    assert all(stop - start <= 6 for start, stop in windows)
    assert all(before[1] > after[0] for before, after in pairwise(windows))


def test_label_of_another_kind_begins_a_span():
    words = [
        {"word": word, "label": label, "probability": 0.5, "start": n, "end": n + 1}
        for n, (word, label) in enumerate([("a", "I-PER"), ("b", "I-LOC"), ("c", "B-LOC"), ("d", "I-LOC")])
    ]
    assert [(one["text"], one["label"]) for one in join_spans("abcd", words)] == [
        ("a", "PER"), ("b", "LOC"), ("cd", "LOC"),
    ]  # fmt: skip
