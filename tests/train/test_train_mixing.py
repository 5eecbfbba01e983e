"""Many languages in one corpus: shares by the formula, rows repeated evenly."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from harness.config.shape import Shape
from harness.data.batches import Packed
from harness.errors import HarnessError
from harness.train.language_model import teacher
from harness.train.language_model.language_mixing import mix, sample_lines, shares


def rows(number, length, value):
    """Gives that many rows, told apart by their first token."""
    ids = np.full((number, length), value, np.int32)
    ids[:, 0] = np.arange(number)
    return Packed(ids.ravel(), np.arange(number + 1, dtype=np.int64) * length)


def test_shares_are_smoothed_sizes_over_their_sum():
    assert shares({"mt": 100, "en": 900}, 0.5) == pytest.approx({"mt": 10 / 40, "en": 30 / 40})
    assert shares({"mt": 100, "en": 900}, 1.0) == pytest.approx({"mt": 0.1, "en": 0.9})
    assert shares({"mt": 100, "en": 900}, 0.0) == pytest.approx({"mt": 0.5, "en": 0.5})


@pytest.mark.parametrize("smoothing", [-0.1, 1.1])
def test_a_smoothing_outside_its_range_is_refused(smoothing):
    with pytest.raises(HarnessError, match=rf"wanted a smoothing from 0 to 1; got {smoothing}"):
        shares({"mt": 1}, smoothing)


def test_a_language_without_text_is_named():
    with pytest.raises(HarnessError, match="wanted text for every language; got none for mt"):
        shares({"mt": 0, "en": 5}, 0.5)


def test_a_mixture_has_the_shares_and_repeats_rows_evenly():
    corpora = {"mt": rows(40, 10, 1001), "en": rows(360, 10, 1002)}
    mixed = mix(corpora, 0.5, seed=1)
    assert int(mixed.lengths.sum()) == pytest.approx(4000, abs=20)
    counts = Counter((int(mixed[index][1]), int(mixed[index][0])) for index in range(len(mixed)))
    of = {value: [counts[value, row] for row in range(number)] for value, number in ((1001, 40), (1002, 360))}
    assert sum(of[1001]) * 10 / int(mixed.lengths.sum()) == pytest.approx(0.25, abs=0.01)
    assert max(of[1001]) - min(of[1001]) <= 1
    assert max(of[1002]) - min(of[1002]) <= 1


def test_a_mixture_is_drawn_by_its_seed():
    corpora = {"mt": rows(40, 10, 1001), "en": rows(300, 10, 1002)}
    assert mix(corpora, 0.3, seed=1).ids.tolist() == mix(corpora, 0.3, seed=1).ids.tolist()
    assert mix(corpora, 0.3, seed=1).ids.tolist() != mix(corpora, 0.3, seed=2).ids.tolist()


def test_without_smoothing_every_row_stands_once():
    corpora = {"mt": rows(3, 4, 1001), "en": rows(5, 7, 1002)}
    mixed = mix(corpora, 1.0, seed=1)
    assert [mixed[index].tolist() for index in range(len(mixed))] == [
        corpora[language][index].tolist() for language in corpora for index in range(len(corpora[language]))
    ]


def test_a_tokenizer_hears_each_language_by_its_share():
    corpora = {"mt": [["m" * 10]] * 100, "en": [["e" * 10]] * 900}
    heard = Counter(line[0] for line in sample_lines(corpora, 4000, 0.5))
    assert heard["m"] * 10 == pytest.approx(1000, rel=0.05)
    assert heard["e"] * 10 == pytest.approx(3000, rel=0.05)


def test_a_tokenizer_hears_all_where_less_is_there_than_was_asked():
    corpora = {"mt": [["abc", "de"], ["f"]], "en": [["gh"]]}
    assert list(sample_lines(corpora, 10**6, 0.5)) == ["abc", "de", "f", "gh"]


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_a_newborn_teacher_has_its_shape_its_tokens_and_its_text(family, documents):
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
    born, again = (teacher.prepare(shape, corpora, **settings) for _ in range(2))
    assert len(born.tokenizer) == shape.vocabulary
    assert sum(parameter.numel() for parameter in born.model.parameters()) == shape.num_parameters
    assert born.tokenizer.model_max_length == shape.max_length
    assert int(born.packed.lengths.max()) <= 20
    assert int(born.packed.ids.max()) < 45
    assert born.packed.ids.tolist() == again.packed.ids.tolist()
    assert born.tokenizer.get_vocab() == again.tokenizer.get_vocab()
