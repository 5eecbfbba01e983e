"""Linear baselines: features whose rows are words or texts, a strength chosen on dev, equal runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from harness.data.examples import TextExample, TokenExample
from harness.models.static_embeddings import distil_static, principal_components
from harness.train.linear import features
from harness.train.linear.model import STRENGTHS, fit

WORDS = ["kami", "tora", "nusel", "bordin", "falu"]


def sentence(*words):
    return TokenExample(words, tuple("NOUN" for _ in words))


LIST = [TokenExample((word,), ("NOUN" if word < "m" else "VERB",)) for word in WORDS]
SENTENCES = [sentence("kami", "tora"), sentence("nusel"), sentence("bordin", "kami", "falu")]
TEXTS = [TextExample("kami tora", "a"), TextExample("falu", "b"), TextExample("falu bordin", "b")]


def test_a_sentence_has_a_row_for_each_word_and_a_text_has_one(make_model, tokenizer):
    vectors_VD = distil_static(make_model(), tokenizer, 8)
    for part, rows in ((SENTENCES, 6), (TEXTS, 3)):
        for made in (features.tfidf(part, part[:2]), features.static(vectors_VD, tokenizer, part, part[:2])):
            assert made[0].shape[0] == rows
            assert made[1].shape == (3 if part is SENTENCES else 2, made[0].shape[1])
            first = made[0][:2].toarray() if sparse.issparse(made[0]) else made[0][:2]
            again = made[1][:2].toarray() if sparse.issparse(made[1]) else made[1][:2]
            assert np.allclose(first, again)


def test_the_same_word_beside_other_neighbours_has_another_row(make_model, tokenizer):
    vectors_VD = distil_static(make_model(), tokenizer, 8)
    (found,) = features.static(vectors_VD, tokenizer, SENTENCES)
    assert np.allclose(found[0, :8], found[4, :8])
    assert not np.allclose(found[0], found[4])
    assert np.allclose(found[0, 8:16], 0), "nothing stands before the first word"
    assert np.allclose(found[2, 8:], 0), "nothing stands beside a word alone"


def test_vocabulary_and_weights_come_from_the_training_part_alone():
    train, other = features.tfidf(TEXTS[:1], [TextExample("zzz qqq", "a")])
    assert other.nnz == 1, "the space at its ends"
    assert train.nnz > 0


def test_a_static_vector_is_what_the_encoder_makes_of_the_token_alone(make_model, tokenizer):
    import torch

    model = make_model()
    found = distil_static(model, tokenizer, 16)
    assert found.shape == (len(tokenizer), 16)
    with torch.no_grad():
        rows = torch.tensor([[2, token, 3] for token in (20, 30)])
        alone = model.base_model(input_ids=rows).last_hidden_state[:, 1]
    # principal components of the whole width keep distances
    want = float((alone[0] - alone[1]).norm())
    assert np.linalg.norm(found[20] - found[30]) == pytest.approx(want, rel=1e-4)
    assert np.array_equal(found, distil_static(model, tokenizer, 16))


def test_components_come_in_the_order_of_what_they_tell():
    import torch

    drawn = torch.randn(500, 4, generator=torch.Generator().manual_seed(1)) * torch.tensor(
        [1.0, 5.0, 0.1, 2.0]
    )
    found = principal_components(drawn, 3)
    assert found.std(axis=0) == pytest.approx([5, 2, 1], rel=0.15)
    assert abs(found.mean(axis=0)).max() < 1e-4
    assert principal_components(drawn, 9).shape == (500, 4)


@pytest.mark.parametrize("dense", [True, False])
def test_the_strength_that_is_best_on_dev_predicts_the_test(dense):
    drawn = np.random.default_rng(2)
    rows = drawn.normal(size=(90, 5))
    labels = ["p" if row[0] + row[1] > 0 else "q" for row in rows]
    parts = [rows[:60], rows[60:75], rows[75:]]
    parts = parts if dense else [sparse.csr_matrix(part) for part in parts]
    asked = []

    def score(said):
        asked.append(said)
        return [0.2, 0.7, 0.7, 0.1][len(asked) - 1]

    found = fit(parts[0], labels[:60], parts[1], parts[2], score=score)
    assert (found.strength, list(found.dev_scores)) == (STRENGTHS[1], list(STRENGTHS))
    assert np.mean([a == b for a, b in zip(found.labels, labels[75:], strict=True)]) > 0.8
    asked.clear()
    assert fit(parts[0], labels[:60], parts[1], parts[2], score=score) == found


def test_training_that_knows_one_label_says_it_throughout():
    rows = np.zeros((4, 2))
    assert fit(rows, ["a"] * 4, rows, rows[:3], score=lambda _: 0).labels == ["a"] * 3


def test_words_without_neighbours_are_told_by_themselves():
    train, test = features.tfidf(LIST, SENTENCES)
    assert train.shape[0] == len(LIST)
    assert test.shape == (6, train.shape[1])
    assert (train.getnnz(axis=1) > 0).all()
    assert train.shape == features.tfidf([TextExample(one.words[0], "a") for one in LIST])[0].shape
