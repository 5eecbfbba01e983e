"""Every cell has a name of its own, sizes are whole heads, and the verdicts follow from the losses."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from benchmarks.surgery import losses as benchmark
from benchmarks.surgery.cells import ALIKE, BASES, MIXED, WAYS, WIDTHS, Cell, list_cells, scale_width


def test_cells_have_different_names():
    made = list(list_cells([1, 2, 3]))
    assert (
        len({cell.name for cell in made}) == len(made) == 1 + 3 * (9 + 4 + 2) + 7 * 3 - 1 + 4 + 2 * 2 + 4 + 2
    )
    assert sum(cell.distilled for cell in made) == 3 * (9 + 4 + 2) + 4 + 2


@pytest.mark.parametrize(
    ("family", "ways"),
    [
        ("bert", {*WAYS, ALIKE, MIXED}),
        ("modernbert", {way for way in WAYS if way not in {"pca, whole heads", "pca, first of each head"}}),
    ],
)
def test_ways_to_narrow_alone_right_after(tmp_path, family, ways):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}), encoding="utf-8")
    given = f"--teacher {tmp_path} --data {tmp_path} --tokens 0 --changes narrow --widths 3/4 --seeds 1"
    teacher, *cells = benchmark.choose_cells(benchmark.arguments(given.split()))
    assert teacher.change == "teacher"
    assert {cell.way for cell in cells} == ways
    assert len(cells) == len(ways)
    assert not any(cell.distilled for cell in cells)
    assert {cell.width for cell in cells} == {"3/4"}


@pytest.mark.parametrize(("width", "size"), [("3/4", 192), ("1/2", 128), ("3/8", 96), ("312/768", 104)])
def test_widths_are_in_whole_units(width, size):
    assert scale_width(width, 256, 4) == size


ABOUT = {"teacher": "a digest", "setting": {"tokens": 1}}


def rows(losses):
    """Return the rows of one language with losses by way; the teacher's is 5."""
    made = [{"language": "mt", **asdict(Cell("teacher", "trimmed", None, 0)), "before": 5.0, "after": None}]
    for way, (before, after) in losses.items():
        for seed in (1, 2):
            cell = asdict(Cell("narrow", way, WIDTHS[0], seed))
            made.append({"language": "mt", **cell, "before": before + seed / 100, "after": after})
    return made


def test_targets_compare_added_losses(tmp_path):
    kept = tmp_path / "kept.jsonl"
    losses = dict(zip(BASES, [(7.0, 6.0), (6.5, 5.8), (5.8, 5.5)], strict=True))
    kept.write_text("\n".join(json.dumps(row | ABOUT) for row in rows(losses)), encoding="utf-8")
    done = benchmark.read_cells(kept, ABOUT)
    assert benchmark.list_added_losses(done, "mt", "narrow", "pca", WIDTHS[0])["before"] == pytest.approx(
        [0.81, 0.82]
    )
    [line] = benchmark.check_targets(done, ["mt"])
    assert line == (
        "- mt, 3/4: pca adds 0.40 of the loss that first adds (target ≤ 0.5: reached); distilled it is better"
        " (0.500 against 1.000 nats)"
    )
    assert f"| narrow | pca | {WIDTHS[0]} | 2 | 0.815 ± 0.007 | 0.500 ± 0.000 |" in benchmark.draw_table(
        done, ["mt"]
    )
    assert (
        benchmark.read_cells(tmp_path / "none", ABOUT)
        == benchmark.read_cells(kept, ABOUT | {"setting": {}})
        == {}
    )
