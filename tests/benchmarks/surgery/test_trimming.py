"""The quadratic method keeps the same pieces as trimming, and the table shows the measurements."""

from __future__ import annotations

from benchmarks.surgery import trimming


def test_quadratic_method_keeps_the_same_pieces():
    vocabulary = trimming.make_pieces(300)
    assert len(vocabulary) == len(dict(vocabulary)) == 300
    kept = [piece for piece, _ in vocabulary[::3]]
    assert trimming.keep_quadratic(vocabulary, kept) == vocabulary[::3]
    assert min(trimming.time_quadratic(500)) >= 0


def test_trimmed_model_has_a_row_for_each_piece():
    made = trimming.make_model(400, 12)
    kept = trimming.choose_ids(made, 120)
    trimmed = trimming.trim_vocabulary(made.model, made.tokenizer, kept)
    assert len(trimmed.tokenizer) == trimmed.model.config.vocab_size == 120


def test_counting_reports_progress():
    counted = trimming.count_text(2_000_000)
    assert 0 < counted["bytes"] <= 2_000_000
    assert counted["times_told"] >= 1


def test_table_shows_targets_by_the_median():
    numbers = {
        "trim_s": [(2.0, 1.0), (4.0, 1.0), (9.0, 1.0)],
        "quadratic_s": {trimming.FULL // 2: (9.0, 8.0)},
        "memory": {"model_bytes": 10**9, "above_bytes": 10**9},
        "counting": [{"bytes": 10, "clock_s": 1, "processor_s": 1, "above_bytes": None, "times_told": 2}],
    }
    text = "\n".join(trimming.draw_tables(numbers))
    assert "clock: 4.00 s, target ≤ 3 s: missed" in text
    assert "processor: 1.00 s, target ≤ 3 s: reached" in text
    assert "by the square: 32 processor seconds (32 times as long). Not run at that size" in text
    assert "target ≤ 1.40 GiB: reached" in text
    assert "| – | 2 |" in text
