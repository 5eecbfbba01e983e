from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter

import pytest

from harness.data.builtin import LANGUAGES, read_corpus
from harness.data.builtin.chance import choose, seed_random
from harness.data.builtin.grammar import load_grammar
from harness.data.builtin.lexicon import KINDS, POLARITIES, TOPICS
from harness.errors import UsageError

PRINT_DIGEST = """
import hashlib
from harness.data.builtin import read_corpus, read_task
made = [list(read_corpus("mt", 300, 7)), read_task("ner", "sk", (40, 20, 40), 7)]
print(hashlib.sha256(repr(made).encode()).hexdigest())
"""


def _digest(hash_seed):
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, "-c", PRINT_DIGEST], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_corpus_and_tasks_do_not_depend_on_the_process():
    assert _digest("1") == _digest("2")


def test_random_sources_are_pinned():
    source = seed_random("corpus", "mt", 0)
    assert [round(source.random(), 9) for _ in range(2)] == [0.156382976, 0.56608776]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_corpus_has_as_many_lines_as_asked_and_depends_on_the_seed(language):
    documents = list(read_corpus(language, 203, 1))
    assert sum(map(len, documents)) == 203
    assert all(3 <= len(one) <= 8 for one in documents[:-1])
    assert documents == list(read_corpus(language, 203, 1))
    assert documents != list(read_corpus(language, 203, 2))


def test_a_longer_corpus_begins_with_a_shorter_one():
    longer = itertools.islice(read_corpus("en", 500, 3), 10)
    assert list(longer) == list(itertools.islice(read_corpus("en", 100, 3), 10))


def test_unknown_language_is_refused():
    with pytest.raises(UsageError, match="unknown built-in language 'xx'; there are: en"):
        next(read_corpus("xx", 1, 0))


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_are_short_and_half_of_them_are_in_lower_case(language):
    sentences = [one for document in read_corpus(language, 1500, 4) for one in document]
    words = sum(len(one.split()) for one in sentences) / len(sentences)
    assert 5 <= words <= 12
    if language not in ("he", "hi"):
        lower = sum(one == one.lower() for one in sentences) / len(sentences)
        assert 0.45 <= lower <= 0.58


@pytest.mark.parametrize("language", LANGUAGES)
def test_corpus_uses_nearly_every_word_by_zipfs_law(language):
    speech = load_grammar(language)
    source = seed_random("test", language)
    forms = {
        token.lower()
        for kind in KINDS
        for words in speech.lexicon.words[kind].values()
        for word in words
        for form in word.forms
        for token in form
    }
    counts: Counter[str] = Counter()
    for _ in range(3000):
        document = speech.draw_document(source, "all")
        counts.update(
            word.lower()
            for word in speech.draw_sentence(source, document, choose(source, speech.patterns)).words
        )
    content = sorted((counts[form] for form in forms), reverse=True)
    assert sum(count > 0 for count in content) >= 0.8 * len(forms)
    assert sum(content[: len(content) // 10]) >= 0.3 * sum(content)


@pytest.mark.parametrize("latent", [*TOPICS, *POLARITIES[:2]])
def test_words_of_the_latent_group_prevail(latent):
    speech = load_grammar("en")
    table = speech.find_table("all", latent, "noun")
    source = seed_random("test", latent)
    groups = Counter(table.draw(source).group for _ in range(2000))
    assert 0.75 <= groups[latent] / 2000 <= 0.95


def test_a_document_names_one_cast_mostly_of_one_type():
    speech = load_grammar("en")
    source = seed_random("test cast")
    documents = [speech.draw_document(source, "all") for _ in range(500)]
    types = [entity.type == document.type for document in documents for entity in document.cast]
    assert 0.8 <= sum(types) / len(types) <= 0.98
    assert all(2 <= len(document.cast) <= 3 for document in documents)
    assert all(len(set(document.cast)) == len(document.cast) for document in documents)
