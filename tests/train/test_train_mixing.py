"""Mixing languages: shares by the formula, rows repeated evenly, the setup of pre-training."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from harness.config.shape import Shape
from harness.data.batches import Packed
from harness.errors import HarnessError
from harness.train.language_model import teacher
from harness.train.language_model.language_mixing import compute_shares, mix_corpora, sample_lines


def rows(number, length, value):
    """Return rows that differ by their first token."""
    ids = np.full((number, length), value, np.int32)
    ids[:, 0] = np.arange(number)
    return Packed(ids.ravel(), np.arange(number + 1, dtype=np.int64) * length)


def test_shares_follow_the_formula():
    assert compute_shares({"mt": 100, "en": 900}, 0.5) == pytest.approx({"mt": 10 / 40, "en": 30 / 40})
    assert compute_shares({"mt": 100, "en": 900}, 1.0) == pytest.approx({"mt": 0.1, "en": 0.9})
    assert compute_shares({"mt": 100, "en": 900}, 0.0) == pytest.approx({"mt": 0.5, "en": 0.5})


@pytest.mark.parametrize("smoothing", [-0.1, 1.1])
def test_a_smoothing_outside_its_range_is_refused(smoothing):
    with pytest.raises(HarnessError, match=rf"expected a smoothing from 0 to 1; got {smoothing}"):
        compute_shares({"mt": 1}, smoothing)


def test_a_language_without_text_is_refused():
    with pytest.raises(HarnessError, match="expected text for every language; got none for mt"):
        compute_shares({"mt": 0, "en": 5}, 0.5)


def test_a_mixture_has_smoothed_shares_and_even_repeats():
    corpora = {"mt": rows(40, 10, 1001), "en": rows(360, 10, 1002)}
    mixed = mix_corpora(corpora, 0.5, seed=1)
    assert int(mixed.lengths.sum()) == pytest.approx(4000, abs=20)
    counts = Counter((int(mixed[index][1]), int(mixed[index][0])) for index in range(len(mixed)))
    of = {value: [counts[value, row] for row in range(number)] for value, number in ((1001, 40), (1002, 360))}
    assert sum(of[1001]) * 10 / int(mixed.lengths.sum()) == pytest.approx(0.25, abs=0.01)
    assert max(of[1001]) - min(of[1001]) <= 1
    assert max(of[1002]) - min(of[1002]) <= 1


def test_a_mixture_depends_on_its_seed():
    corpora = {"mt": rows(40, 10, 1001), "en": rows(300, 10, 1002)}
    assert mix_corpora(corpora, 0.3, seed=1).ids.tolist() == mix_corpora(corpora, 0.3, seed=1).ids.tolist()
    assert mix_corpora(corpora, 0.3, seed=1).ids.tolist() != mix_corpora(corpora, 0.3, seed=2).ids.tolist()


def test_a_smoothing_of_one_keeps_each_row_once():
    corpora = {"mt": rows(3, 4, 1001), "en": rows(5, 7, 1002)}
    mixed = mix_corpora(corpora, 1.0, seed=1)
    assert [mixed[index].tolist() for index in range(len(mixed))] == [
        corpora[language][index].tolist() for language in corpora for index in range(len(corpora[language]))
    ]


def test_sampled_lines_follow_the_shares():
    corpora = {"mt": [["m" * 10]] * 100, "en": [["e" * 10]] * 900}
    counts = Counter(line[0] for line in sample_lines(corpora, 4000, 0.5))
    assert counts["m"] * 10 == pytest.approx(1000, rel=0.05)
    assert counts["e"] * 10 == pytest.approx(3000, rel=0.05)


def test_a_short_corpus_is_sampled_whole():
    corpora = {"mt": [["abc", "de"], ["f"]], "en": [["gh"]]}
    assert list(sample_lines(corpora, 10**6, 0.5)) == ["abc", "de", "f", "gh"]


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_pretraining_setup_follows_shape_and_settings(family, documents):
    shape = Shape(
        family=family,
        layers=1,
        hidden=8,
        heads=2,
        ffn=8,
        vocabulary=45,
        positions=40,
        types=2 if family == "bert" else 1,
    )
    settings = {"smoothing": 0.5, "tokenizer_characters": 2000, "sequence_length": 20, "seed": 3}
    corpora = {"mt": documents[:20], "en": documents[20:]}
    setup, again = (teacher.prepare_pretraining(shape, corpora, **settings) for _ in range(2))
    assert len(setup.tokenizer) == shape.vocabulary
    assert sum(parameter.numel() for parameter in setup.model.parameters()) == shape.num_parameters
    assert setup.tokenizer.model_max_length == shape.max_length
    assert int(setup.packed.lengths.max()) <= 20
    assert int(setup.packed.ids.max()) < 45
    assert setup.packed.ids.tolist() == again.packed.ids.tolist()
    assert setup.tokenizer.get_vocab() == again.tokenizer.get_vocab()
