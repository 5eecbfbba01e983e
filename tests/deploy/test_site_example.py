"""The sentence that the demo's page offers to try."""

from __future__ import annotations

from harness.deploy.example_sentences import EXAMPLES
from harness.languages import LANGUAGES, SCRIPTS


def test_every_known_language_has_a_sentence_in_its_script():
    assert EXAMPLES.keys() == LANGUAGES.keys()
    first = {"Arab": "\u0600", "Deva": "\u0900", "Hebr": "\u0590", "Latn": "A"}
    assert first.keys() == SCRIPTS.keys()
    for code, sentence in EXAMPLES.items():
        begin = first[LANGUAGES[code].script]
        assert len(sentence.split()) > 5
        assert all(begin <= letter < chr(ord(begin) + 0x200) for letter in sentence if letter.isalpha()), code
