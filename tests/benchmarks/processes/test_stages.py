"""The comparison of workers: whole runs in turns, a table, and what their stages wrote."""

from __future__ import annotations

from benchmarks.processes import compare, stages


def test_runs_take_turns_and_are_compared(monkeypatch, capsys):
    seen = []

    def run_once(options, workers, threads):
        seen.append((tuple(options), workers, threads))
        written = {"adapt": "a", "score.pos.student": "b" if workers == 1 or len(seen) < 3 else "c"}
        return {"wall_s": 8.0 / workers, "own_processors": 1.0, "other_processors": 0.25, "written": written}

    monkeypatch.setattr(stages, "run_once", run_once)
    assert compare.main(["stages", "--rounds", "2", "--scale", "small"]) == 0
    assert [workers for _, workers, _ in seen] == [1, 2, 2, 1]
    assert seen[0] == (("mt", "--scale", "small"), 1, 1)
    printed = capsys.readouterr().out
    assert "| 2 | 4, 4 | 2.00x (2.00–2.00) | 1.00 | 0.25 |" in printed
    assert (
        "The files of the 2 stages that measure no time differ in score.pos.student in all 4 runs." in printed
    )
