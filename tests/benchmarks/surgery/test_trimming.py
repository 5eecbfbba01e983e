"""The quadratic method keeps what trimming keeps, and the table says what was measured."""

from __future__ import annotations

from benchmarks.surgery import trimming


def test_the_quadratic_method_keeps_the_pieces_asked_for():
    vocabulary = trimming.pieces(300)
    assert len(vocabulary) == len(dict(vocabulary)) == 300
    kept = [piece for piece, _ in vocabulary[::3]]
    assert trimming.quadratic(vocabulary, kept) == vocabulary[::3]
    assert min(trimming.time_quadratic(500)) >= 0


def test_what_is_trimmed_has_a_row_for_each_piece():
    made = trimming.make(400, 12)
    kept = trimming.kept_ids(made, 120)
    trimmed = trimming.trim_vocabulary(made.model, made.tokenizer, kept)
    assert len(trimmed.tokenizer) == trimmed.model.config.vocab_size == 120


def test_text_is_counted_with_its_progress_told():
    found = trimming.count_text(2_000_000)
    assert 0 < found["bytes"] <= 2_000_000
    assert found["times_told"] >= 1


def test_the_table_tells_targets_by_the_median():
    found = {
        "trim_s": [(2.0, 1.0), (4.0, 1.0), (9.0, 1.0)],
        "quadratic_s": {trimming.FULL // 2: (9.0, 8.0)},
        "memory": {"model_bytes": 10**9, "above_bytes": 10**9},
        "counting": [{"bytes": 10, "clock_s": 1, "processor_s": 1, "above_bytes": None, "times_told": 2}],
    }
    text = "\n".join(trimming.lines_of(found))
    assert "clock: 4.00 s, wanted ≤ 3 s: missed" in text
    assert "processor: 1.00 s, wanted ≤ 3 s: reached" in text
    assert "by the square: 32 processor seconds (32 times as long). Not run at that size" in text
    assert "wanted ≤ 1.40 GiB: reached" in text
    assert "| – | 2 times |" in text
