"""The sentence that the demo's page offers to try."""

from __future__ import annotations

import pytest

from harness.data import builtin
from harness.deploy.site import draw_example


@pytest.mark.parametrize("language", builtin.LANGUAGES)
def test_every_builtin_language_has_one_sentence(language):
    sentence = draw_example(language)
    assert sentence == draw_example(language)
    assert len(sentence.split()) > 1
    assert "\n" not in sentence


@pytest.mark.parametrize("language", [None, "xx", "hr"])
def test_other_languages_have_none(language):
    assert draw_example(language) is None
