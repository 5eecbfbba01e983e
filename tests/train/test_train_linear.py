"""Linear baselines: features of words or texts, a strength chosen on dev, equal runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from harness.data.examples import TextExample, TokenExample
from harness.models.static_embeddings import distil_static, principal_components
from harness.train.linear import features
from harness.train.linear.model import STRENGTHS, fit_linear_model

WORDS = ["kami", "tora", "nusel", "bordin", "falu"]


def sentence(*words):
    return TokenExample(words, tuple("NOUN" for _ in words))


LIST = [TokenExample((word,), ("NOUN" if word < "m" else "VERB",)) for word in WORDS]
SENTENCES = [sentence("kami", "tora"), sentence("nusel"), sentence("bordin", "kami", "falu")]
TEXTS = [TextExample("kami tora", "a"), TextExample("falu", "b"), TextExample("falu bordin", "b")]


def test_features_have_a_row_for_each_word_or_text(make_model, tokenizer):
    vectors_VD = distil_static(make_model(), tokenizer, 8)
    for part, rows in ((SENTENCES, 6), (TEXTS, 3)):
        for made in (
            features.compute_tfidf(part, part[:2]),
            features.compute_static_features(vectors_VD, tokenizer, part, part[:2]),
        ):
            assert made[0].shape[0] == rows
            assert made[1].shape == (3 if part is SENTENCES else 2, made[0].shape[1])
            first = made[0][:2].toarray() if sparse.issparse(made[0]) else made[0][:2]
            again = made[1][:2].toarray() if sparse.issparse(made[1]) else made[1][:2]
            assert np.allclose(first, again)


def test_features_of_a_word_depend_on_its_neighbours(make_model, tokenizer):
    vectors_VD = distil_static(make_model(), tokenizer, 8)
    (rows,) = features.compute_static_features(vectors_VD, tokenizer, SENTENCES)
    assert np.allclose(rows[0, :8], rows[4, :8])
    assert not np.allclose(rows[0], rows[4])
    assert np.allclose(rows[0, 8:16], 0), "the first word has no left neighbour"
    assert np.allclose(rows[2, 8:], 0), "a single word has no neighbour"


def test_tfidf_is_fitted_on_the_training_part_alone():
    train, other = features.compute_tfidf(TEXTS[:1], [TextExample("zzz qqq", "a")])
    assert other.nnz == 1, "the space at its ends"
    assert train.nnz > 0


def test_a_static_vector_is_the_encoding_of_the_token_alone(make_model, tokenizer):
    import torch

    model = make_model()
    vectors_VD = distil_static(model, tokenizer, 16)
    assert vectors_VD.shape == (len(tokenizer), 16)
    with torch.no_grad():
        rows = torch.tensor([[2, token, 3] for token in (20, 30)])
        alone = model.base_model(input_ids=rows).last_hidden_state[:, 1]
    # principal components of the whole width keep distances
    want = float((alone[0] - alone[1]).norm())
    assert np.linalg.norm(vectors_VD[20] - vectors_VD[30]) == pytest.approx(want, rel=1e-4)
    assert np.array_equal(vectors_VD, distil_static(model, tokenizer, 16))


def test_components_are_ordered_by_variance():
    import torch

    drawn = torch.randn(500, 4, generator=torch.Generator().manual_seed(1)) * torch.tensor(
        [1.0, 5.0, 0.1, 2.0]
    )
    components = principal_components(drawn, 3)
    assert components.std(axis=0) == pytest.approx([5, 2, 1], rel=0.15)
    assert abs(components.mean(axis=0)).max() < 1e-4
    assert principal_components(drawn, 9).shape == (500, 4)


@pytest.mark.parametrize("dense", [True, False])
def test_the_best_strength_on_dev_predicts_the_test(dense):
    drawn = np.random.default_rng(2)
    rows = drawn.normal(size=(90, 5))
    labels = ["p" if row[0] + row[1] > 0 else "q" for row in rows]
    parts = [rows[:60], rows[60:75], rows[75:]]
    parts = parts if dense else [sparse.csr_matrix(part) for part in parts]
    calls = []

    def score(labels):
        calls.append(labels)
        return [0.2, 0.7, 0.7, 0.1][len(calls) - 1]

    fit = fit_linear_model(parts[0], labels[:60], parts[1], parts[2], score=score)
    assert (fit.strength, list(fit.dev_scores)) == (STRENGTHS[1], list(STRENGTHS))
    assert np.mean([a == b for a, b in zip(fit.labels, labels[75:], strict=True)]) > 0.8
    calls.clear()
    assert fit_linear_model(parts[0], labels[:60], parts[1], parts[2], score=score) == fit


def test_a_single_training_label_is_always_predicted():
    rows = np.zeros((4, 2))
    assert fit_linear_model(rows, ["a"] * 4, rows, rows[:3], score=lambda _: 0).labels == ["a"] * 3


def test_views_without_text_are_left_out():
    train, test = features.compute_tfidf(LIST, SENTENCES)
    assert train.shape[0] == len(LIST)
    assert test.shape == (6, train.shape[1])
    assert (train.getnnz(axis=1) > 0).all()
    assert train.shape == features.compute_tfidf([TextExample(one.words[0], "a") for one in LIST])[0].shape
