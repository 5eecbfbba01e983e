"""The history draws ratios within single runs, and counts; never times of different runs."""

from __future__ import annotations

import json

import pytest

from benchmarks.records import history


def record(commit, at, ratio, parameters):
    return {
        "environment": {"commit": commit, "at": at},
        "groups": [
            {
                "name": "ops: a_loss, cpu",
                "facts": {
                    "eager": {"ratio_to_first": [1, 1, 1], "p50_ms": 5.0},
                    "harness": {"ratio_to_first": [ratio, ratio - 1, ratio + 1], "p50_ms": 5.0 / ratio},
                },
            }
        ],
        "counts": {"parameters of student, ffn": parameters, "operators of student/model.onnx, Add": 3},
    }


@pytest.fixture
def folder(tmp_path):
    for name, one in {
        "bench_a-cpu_202601_bbbbbbb": record("bbbbbbbbb", "2026-01-02", 4.0, 110),
        "bench_a-cpu_202601_aaaaaaa": record("aaaaaaaaa", "2026-01-01", 3.0, 100),
        "bench_other_202601_aaaaaaa": record("aaaaaaaaa", "2026-01-01", 2.0, 100),
        "ops_a-cpu_202601_aaaaaaa": {"environment": {}},
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(one))
    return tmp_path


def test_records_are_sorted_by_machine_and_age(folder):
    machines = history.read_records(folder)
    assert set(machines) == {"a-cpu", "other"}
    drawn = history.collect_panels(machines["a-cpu"])
    assert drawn == {
        "ops: a_loss, cpu: × as fast as eager": {
            "harness": [history.Point("aaaaaaa", 3, 2, 4), history.Point("bbbbbbb", 4, 3, 5)]
        },
        "parameters of student": {
            "ffn": [history.Point("aaaaaaa", 100, 100, 100), history.Point("bbbbbbb", 110, 110, 110)]
        },
    }


def test_command_writes_the_same_picture_twice(folder, tmp_path, capsys):
    pictures = []
    for number in (1, 2):
        out = tmp_path / f"out{number}"
        assert history.main([str(folder), "--out", str(out)]) == 0
        pictures.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert set(pictures[0]) == {"history_a-cpu.svg", "history_other.svg"}
    assert pictures[0] == pictures[1]
    assert b"<svg" in pictures[0]["history_a-cpu.svg"]
    assert capsys.readouterr().out.count("written: ") == 4


def test_missing_records_are_reported_in_one_line(tmp_path, capsys):
    assert history.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"history: expected records of `make bench` in '{tmp_path}'; got none; run it first\n"
    )
