from __future__ import annotations

import pytest

from harness.data.builtin import LANGUAGES
from harness.data.builtin.check import num_names, num_words, problems
from harness.data.builtin.lexicon import read_source


@pytest.mark.parametrize("language", LANGUAGES)
def test_lexicon_has_no_problem(language):
    found = problems(language)
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("language", LANGUAGES)
def test_lexicon_is_large_enough(language):
    source = read_source(language)
    assert num_words(source) >= 300
    assert num_names(source) >= 120
