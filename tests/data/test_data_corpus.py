"""Corpora: documents, folding, de-duplication, leakage, and a split that new files do not disturb."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data import corpus
from harness.data.corpus import fold, group, leak_key, prepare, sample
from harness.errors import HarnessError


def documents(count: int, salt: str = "") -> list[list[str]]:
    return [[f"{salt}line {number}.{line}" for line in range(4)] for number in range(count)]


@given(st.text())
def test_folding_twice_changes_nothing_and_leaves_one_line(text: str) -> None:
    folded = fold(text)
    assert fold(folded) == folded
    assert len(folded.splitlines()) <= 1
    assert unicodedata.is_normalized("NFC", folded)


def test_folding_unifies_equal_looking_lines() -> None:
    assert fold(" z\u0307  \tu\u00a0b ") == "ż u b"


def test_lines_without_blanks_are_cut_every_32() -> None:
    cut = list(group((str(number) for number in range(70)), blank_lines=False))
    assert [len(one) for one in cut] == [32, 32, 6]
    assert cut[1][0] == "32"


def test_blank_lines_separate_documents_and_long_runs_are_cut() -> None:
    assert list(group(["a", "b", "", " ", "c", ""], blank_lines=True)) == [["a", "b"], ["c"]]
    longest = corpus.LONGEST_DOCUMENT
    assert [len(one) for one in group(["x"] * (longest + 3), blank_lines=True)] == [longest, 3]


def test_repeated_empty_and_leaked_lines_are_dropped_and_counted() -> None:
    read = [["Il-kelb jiekol.", "  ", "Il-kelb  jiekol."], ["Ħobż.", "Test sentence , here .", "Dar."]]
    split = prepare(read, 0.0, 0, exclude={"Test sentence, here."})
    assert split.train == [["Il-kelb jiekol."], ["Ħobż.", "Dar."]]
    count = split.statistics
    assert (count.documents, count.lines, count.empty, count.duplicates, count.excluded) == (2, 6, 1, 1, 1)
    assert count.characters == sum(len(line) for one in split.train for line in one)
    assert (count.train_documents, count.train_lines) == (2, 3)


def test_the_leak_key_ignores_tokenisation() -> None:
    assert leak_key("Test sentence , here .") == leak_key("Test sentence, here.")


def test_no_line_is_in_both_parts_and_none_is_lost() -> None:
    read = documents(300) + documents(300)
    split = prepare(read, 0.2, 1)
    lines = [line for part in (split.train, split.held_out) for one in part for line in one]
    assert len(lines) == len(set(lines)) == 1200
    assert 30 <= split.statistics.held_out_documents <= 90
    assert split.statistics.held_out_lines == sum(map(len, split.held_out))


def test_adding_documents_moves_no_other() -> None:
    before = prepare(documents(200), 0.1, 3)
    after = prepare(documents(100, "new ") + documents(200), 0.1, 3)
    old = {line for one in before.held_out for line in one}
    assert old == {line for one in after.held_out for line in one if not line.startswith("new ")}


def test_a_document_that_loses_lines_to_another_does_not_move() -> None:
    before = prepare(documents(200), 0.1, 3)
    after = prepare([[one[0]] for one in documents(200)] + documents(200), 0.1, 3)
    last = {one[-1] for one in before.held_out}
    assert last == {one[-1] for one in after.held_out if one[-1].endswith(".3")}


def test_the_split_depends_on_the_seed_alone() -> None:
    assert prepare(documents(200), 0.1, 3) == prepare(documents(200), 0.1, 3)
    assert prepare(documents(200), 0.1, 3).held_out != prepare(documents(200), 0.1, 4).held_out


def test_a_small_corpus_still_holds_one_document_out() -> None:
    split = prepare(documents(5), 1e-6, 0)
    assert (len(split.train), len(split.held_out)) == (4, 1)
    assert prepare(documents(5), 0.0, 0).held_out == []


@pytest.mark.parametrize("fraction", [-0.1, 1.0])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(HarnessError, match="corpus: expected a held-out fraction from 0 to below 1; got"):
        prepare(documents(5), fraction, 0)


def test_a_corpus_without_a_line_left_is_refused() -> None:
    with pytest.raises(
        HarnessError, match="corpus: expected lines to train on; got 2 lines of which 1 empty, 0 repeated"
    ):
        prepare([["a", ""]], 0.0, 0, exclude={"a"})


@pytest.mark.parametrize("spilled", [1, 7, 100])
def test_fingerprints_on_the_disk_find_the_same_lines(spilled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = random.Random(0)
    read = [[f"line {drawn.randrange(60)}" for _ in range(5)] for _ in range(40)] + [["", "Test"]]
    in_memory = prepare(read, 0.2, 1, exclude={"T est"})
    monkeypatch.setattr("harness.data.repeated_lines.SPILLED_LINES", spilled)
    assert prepare(read, 0.2, 1, exclude={"T est"}) == in_memory
    assert in_memory.statistics.duplicates == 200 - len({line for one in read[:-1] for line in one})


def test_a_written_corpus_is_read_back(tmp_path: Path) -> None:
    split = prepare(documents(50), 0.1, 0)
    corpus.write(split, tmp_path)
    assert corpus.read(tmp_path, "train") == split.train
    assert corpus.read(tmp_path, "held_out") == split.held_out


def test_an_empty_part_is_read_back_as_empty(tmp_path: Path) -> None:
    corpus.write(prepare(documents(3), 0.0, 0), tmp_path)
    assert corpus.read(tmp_path, "held_out") == []
    with pytest.raises(HarnessError, match=r"other\.txt: expected a file to read"):
        corpus.read(tmp_path, "other")


def test_a_part_is_read_a_document_at_a_time(tmp_path: Path) -> None:
    """What comes later in the file is not looked at yet."""
    (tmp_path / "train.txt").write_bytes(b"a\nb\n\nc\n\n\xff\n")
    documents = corpus.stream(tmp_path, "train")
    assert [next(documents), next(documents)] == [["a", "b"], ["c"]]
    with pytest.raises(HarnessError, match=r"train\.txt:6: expected UTF-8"):
        next(documents)


def test_a_sample_keeps_order_and_stays_within_its_lines() -> None:
    everything = documents(40)
    drawn = sample(everything, 21, 0)
    assert sum(map(len, drawn)) == 20
    assert drawn == [one for one in everything if one in drawn]
    assert drawn == sample(everything, 21, 0) != sample(everything, 21, 1)
    assert sample(everything, 10_000, 0) == everything
    assert len(sample(everything, 1, 0)) == 1


def test_a_shuffled_corpus_has_the_same_held_out_documents() -> None:
    read = documents(100)
    shuffled = random.Random(0).sample(read, len(read))
    held = {tuple(one) for one in prepare(read, 0.1, 0).held_out}
    assert held == {tuple(one) for one in prepare(shuffled, 0.1, 0).held_out}
