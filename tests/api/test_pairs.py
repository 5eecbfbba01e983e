"""Minimal pairs: what a file may hold, and how models are compared on them."""

from __future__ import annotations

import pytest

from harness import api
from harness.api import pair_scores as module
from harness.data.minimal_pairs import MinimalPair, read_minimal_pairs
from harness.errors import HarnessError, UsageError


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_are_read_by_name(tmp_path):
    file = write(
        tmp_path / "a.tsv", "verb\twrong_sen\tsen\tphenomenon\nx\tHe go.\tHe goes.\tSV-#\ny\tB.\tA.\n"
    )
    assert read_minimal_pairs(file) == [MinimalPair("He goes.", "He go.", "SV-#"), MinimalPair("A.", "B.")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("good\tbad\nA.\tB.\n", "a.tsv:1: expected the columns sen and wrong_sen, separated by tabs; got"),
        ("sen\twrong_sen\nA.\n", r"a.tsv:2: expected two sentences that differ; got 'A.' and ''"),
        ("sen\twrong_sen\nA.\tA. \n", r"a.tsv:2: expected two sentences that differ"),
        ("sen\twrong_sen\n", r"a.tsv: expected at least one pair below the header; got none"),
    ],
)  # fmt: skip
def test_broken_files_are_refused(text, message, tmp_path):
    with pytest.raises(HarnessError, match=message):
        read_minimal_pairs(write(tmp_path / "a.tsv", text))


def test_models_are_compared_with_the_first_over_all_pairs_and_by_phenomenon(monkeypatch, tmp_path):
    rows = "".join(f"good {n}\tbad {n}\t{'SV-#' if n < 40 else 'SV-P'}\n" for n in range(60))
    file = write(tmp_path / "a.tsv", f"sen\twrong_sen\tphenomenon\n{rows}")
    right = {"strong": 57, "weak": 20}
    monkeypatch.setattr(
        module,
        "_choose_sentences",
        lambda name, given, _: ["right" if place < right[name] else "wrong" for place in range(len(given))],
    )
    scores = api.score_pairs(["strong", "weak"], file)
    assert [(one.model, one.phenomenon, one.num_pairs) for one in scores] == [
        ("strong", "", 60), ("weak", "", 60),
        ("strong", "SV-#", 40), ("weak", "SV-#", 40),
        ("strong", "SV-P", 20), ("weak", "SV-P", 20),
    ]  # fmt: skip
    assert [one.value for one in scores] == [57 / 60, 20 / 60, 1, 0.5, 17 / 20, 0]
    assert all(one.low <= one.value <= one.high for one in scores)
    for first, other in zip(scores[::2], scores[1::2], strict=True):
        assert (first.difference, first.p_holm, first.verdict) == (None, None, None)
        assert other.difference[0] == pytest.approx(other.value - first.value)
        assert other.verdict == "worse"


def test_pairs_of_two_models_are_printed(refused, write_teacher, tmp_path):
    teacher = write_teacher(tmp_path / "teacher")
    lines = "".join(f"word{n} word1\tword1 word{n}\n" for n in range(2, 12))
    file = write(tmp_path / "a.tsv", f"sen\twrong_sen\n{lines}")
    (score,) = api.score_pairs([teacher], file)
    assert (score.model, score.num_pairs, score.phenomenon) == (str(teacher), 10, "")
    assert 0 <= score.low <= score.value <= score.high <= 1
    code, line = refused("pairs", file, "--model", teacher, "--model", teacher)
    assert (code, line[:48]) == (2, "pairs: expected at least one model, each once; g")


def test_model_without_a_head_is_refused(write_teacher, tmp_path):
    from transformers import AutoModel, AutoTokenizer

    folder = write_teacher(tmp_path / "teacher")
    AutoModel.from_pretrained(folder).save_pretrained(tmp_path / "bare")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "bare")
    file = write(tmp_path / "a.tsv", "sen\twrong_sen\nword1\tword2\n")
    with pytest.raises(UsageError, match="expected a model with a masked-language head; got one without"):
        api.score_pairs([tmp_path / "bare"], file)
