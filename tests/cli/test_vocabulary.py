"""The command that shows what trimming to different numbers of tokens does to a language's text."""

from __future__ import annotations

import json

import pytest

from harness import api
from harness.data import corpus
from harness.data.folder import read_corpus, read_task


@pytest.fixture
def places(tmp_path, write_data, write_teacher):
    """Return the folders of a teacher and of data in two languages."""
    return write_teacher(tmp_path / "teacher"), write_data(tmp_path / "data", ("mt", "sl"))


@pytest.fixture
def run(places, capsys):
    """Return a function that runs the command and returns what it printed as JSON."""
    from harness.cli.app import app

    def run(*arguments, lang="mt"):
        teacher, data = places
        given = ["vocabulary", str(teacher), "--lang", lang, "--data", str(data), *arguments]
        app(args=[*given, "--json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    return run


def test_text_is_tokenised_as_by_the_trimmed_model(run, places):
    teacher, data = places
    rows = run("--tokens", "40,50")
    assert [row["size"]["rule"] for row in rows] == ["all", "40 tokens", "50 tokens"]
    model = api.load(teacher)
    tests = [" ".join(one.words) for one in read_task(data, "pos", "mt").test]
    topics = [one.text for one in read_task(data, "topic", "mt").test]
    split = corpus.prepare(read_corpus(data, "mt"), 0.02, 1, exclude={*tests, *topics})
    train = [line for document in split.train for line in document]
    held_out = [line for document in split.held_out for line in document]
    for row in rows[1:]:
        small = api.trim(model, train, row["size"]["num_tokens"])
        assert row["parameters"] == small.num_parameters
        for name, lines in {"held-out text": held_out, "topic": sorted(set(topics))}.items():
            before, after = (
                [one.tokenizer.tokenize(word) for line in lines for word in line.split()]
                for one in (model, small)
            )
            same = sum(old == new for old, new in zip(before, after, strict=True)) / len(before)
            measured = row["size"]["texts"][name]
            assert measured["words_unchanged_fraction"] == pytest.approx(same, abs=0.02)
            assert measured["tokens_per_word"] == pytest.approx(sum(map(len, after)) / len(after), abs=0.05)


def test_words_of_training_parts_are_counted_where_requested(run, places):
    _, data = places
    for path in (data / "corpus/mt").iterdir():
        path.write_text(
            "\n".join(f"word1 word2 {'word3 ' * number}" for number in range(40)), encoding="utf-8"
        )
    (plain,), (counted,) = (run("--coverage", "1", *more)[1:] for more in ((), ("--task-text",)))
    assert counted["size"]["num_tokens"] > plain["size"]["num_tokens"]
    unchanged = [one["size"]["texts"]["topic"]["words_unchanged_fraction"] for one in (plain, counted)]
    assert unchanged[0] < unchanged[1]


def test_the_whole_vocabulary_leaves_every_word_as_it_is(run):
    whole, *others = run()
    assert whole["size"]["num_tokens"] == 60
    assert {text["words_unchanged_fraction"] for text in whole["size"]["texts"].values()} == {1}
    assert set(whole["size"]["texts"]) == {"held-out text", "pos", "topic"}
    assert [row["size"]["rule"] for row in others] == [
        "99 % of the text",
        "99.9 % of the text",
        "0.05 % of the documents",
    ]
    assert all(row["parameters"] <= whole["parameters"] for row in others)


def test_more_tokens_leave_more_words(run):
    rows = run("--coverage", "0.5,0.8,0.95,1")
    numbers = [row["size"]["num_tokens"] for row in rows[1:]]
    shares = [row["size"]["texts"]["held-out text"]["words_unchanged_fraction"] for row in rows[1:]]
    assert numbers == sorted(numbers)
    assert shares == sorted(shares)


def test_several_languages_weigh_alike(run):
    both = run("--document-fraction", "0.9", lang="mt,sl")[1]["size"]["num_tokens"]
    assert both >= max(
        run("--document-fraction", "0.9", lang=one)[1]["size"]["num_tokens"] for one in ("mt", "sl")
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--tokens", "1e4"), "--tokens: expected whole numbers, as 8000,16000; got '1e4'; correct it"),
        (("--coverage", "99"), "trim: expected a share above 0 and at most 1; got 99.0"),
        (("--tokens", "61"), "trim: expected at most the 60 tokens there are; got 61"),
        (("--tokens", "3"), "trim: expected at least the"),
    ],
)  # fmt: skip
def test_numbers_that_do_not_fit_are_refused_in_one_line(arguments, message, refused, places):
    teacher, data = places
    code, line = refused("vocabulary", str(teacher), "--lang", "mt", "--data", str(data), *arguments)
    assert code == (2 if message.startswith("--") else 1)
    assert line.startswith(message)


def test_a_language_without_text_is_refused(refused, places):
    teacher, data = places
    code, line = refused("vocabulary", str(teacher), "--lang", "xx", "--data", str(data))
    assert code == 2
    assert line == f"unknown language in {data / 'corpus'} 'xx'; there are: mt, sl."


def test_learned_tokens_are_those_of_the_step(run, places):
    from harness.models.tokenizers.learning import count_words
    from harness.models.tokenizers.retokenizing import learn_tokenizer

    teacher, data = places
    rows = run("--learn", "70", "--tokens", "50")
    assert [row["size"]["rule"] for row in rows] == ["all", "50 tokens", "70 learned tokens"]
    assert rows[2]["size"]["num_tokens"] == 70
    model = api.load(teacher)
    tests = {" ".join(one.words) for one in read_task(data, "pos", "mt").test}
    tests |= {one.text for one in read_task(data, "topic", "mt").test}
    split = corpus.prepare(read_corpus(data, "mt"), 0.02, 1, exclude=tests)
    words = count_words(model.tokenizer, (line for document in split.train for line in document))
    tokenizer = learn_tokenizer(model.tokenizer, words, 70).tokenizer
    held_out = [word for document in split.held_out for line in document for word in line.split()]
    number = sum(len(tokenizer.tokenize(word)) for word in held_out)
    measured = rows[2]["size"]["texts"]["held-out text"]
    assert measured["tokens_per_word"] == pytest.approx(number / len(held_out), abs=0.05)
    assert measured["words_unchanged_fraction"] < 1


def test_languages_have_equal_weight_in_learned_tokens(run):
    (_, row) = run("--learn", "90", lang="mt,sl")
    assert row["size"]["texts"]["held-out text"]["unknown_fraction"] < 0.02
