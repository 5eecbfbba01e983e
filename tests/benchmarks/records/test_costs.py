"""What stages took is read from manifests, and what runs cost is computed from that."""

from __future__ import annotations

import json

import pytest

from benchmarks.common.paths import RECORDS, ROOT
from benchmarks.records import costs, stage_times
from benchmarks.records.costs import (
    Cost,
    count_cost,
    measure_core_times,
    read_record,
    tabulate_costs,
    tabulate_times,
)
from harness.config.load import load_scale
from harness.errors import HarnessError
from harness.pipeline.manifest import Manifest
from harness.pipeline.store import write_manifest

ROW = {"kind": "distill", "wall_s": 50.0, "threads": 2, "tokens": 1000, "work": 1e9}


def make_stage(runs, language, key, **changed):
    """Write the manifest of a finished stage that read 1,000 tokens."""
    folder = runs / language / "r-s" / f"01-corpus-{key}"
    folder.mkdir(parents=True)
    stated = {"stage": "corpus", "kind": "corpus", "version": 1, "key": key, "config": {"tokens": 1000},
              "inputs": {}, "outputs": {"a": {"sha256": "0" * 64, "bytes": 7}}, "seed": None, "wall_s": 9.0,
              "resumed": False, "peak_memory_bytes": None, "facts": {}, "started_at": "", "threads": 2,
              "commit": "0123456789"}  # fmt: skip
    write_manifest(folder, Manifest.model_validate(stated | changed))


def test_times_are_those_of_whole_stages_of_the_languages(tmp_path):
    make_stage(tmp_path, "mt", "a" * 12)
    make_stage(tmp_path, "mt", "b" * 12, resumed=True)
    make_stage(tmp_path, "mt", "c" * 12, wall_s=0.5)
    make_stage(tmp_path, "sl", "d" * 12)
    (tmp_path / "mt" / "r-s" / "02-corpus-eeeeeeeeeeee").mkdir()
    assert list(stage_times.list_times(tmp_path, ["mt"])) == [
        {"language": "mt", "stage": "corpus", "kind": "corpus", "wall_s": 9.0, "threads": 2, "tokens": 1000,
         "work": 0.0, "bytes": 7, "commit": "0123456"}
    ]  # fmt: skip


def test_core_times_are_medians_over_all_threads():
    slow, slower = ROW | {"wall_s": 70.0}, ROW | {"wall_s": 900.0}
    other = ROW | {"kind": "export", "work": 0.0}
    times = measure_core_times([ROW, slower, slow, other])
    assert times.stage_s == {"distill": 140.0, "export": 100.0}
    assert times.work_s == {"distill": pytest.approx(140e-9)}


def test_stages_that_runs_share_cost_once_and_slower_cores_cost_more():
    scale = load_scale("laptop").with_tasks(["topic"])
    times = measure_core_times([ROW, ROW | {"kind": "score"}, ROW | {"kind": "export", "work": 0.0}])
    apart = [count_cost(times, "sw", [recipe], scale) for recipe in costs.SIZES]
    whole = count_cost(times, "sw", costs.SIZES, scale)
    assert max(one.hours for one in apart) < whole.hours < sum(one.hours for one in apart)
    assert max(one.stages for one in apart) < whole.stages < sum(one.stages for one in apart)
    slower = measure_core_times([ROW | {"wall_s": 100.0}, ROW | {"kind": "score"}])
    assert count_cost(slower, "sw", costs.SIZES, scale).training_h == pytest.approx(2 * whole.training_h)
    assert whole * 2 == Cost(*(2 * part for part in vars(whole).values()))


def test_price_is_that_of_the_option(monkeypatch):
    monkeypatch.setattr(costs, "count_cost", lambda *_: Cost(40, 2.0, 6.0, 2.0, 0.1, 3_000_000_000))
    rows = tabulate_costs(measure_core_times([ROW]), 0.5)
    assert "| a language, 14m | 40 | 2.0 | 6.0 | 2.0 | 10.0 | 5.0 | 0.1 | 3 GB |" in rows
    assert (
        "| 200 languages, three sizes | 8,000 | 400 | 1,200 | 400 | 2,000 | 1,000 | 20.0 | 600 GB |" in rows
    )


def test_folder_without_one_record_is_one_line(tmp_path):
    with pytest.raises(HarnessError, match=r"^costs: expected one record stages_\*.json in .*; got 0; write"):
        read_record(tmp_path)
    (tmp_path / "stages_cpu.json").write_text(json.dumps({"stages": [ROW]}))
    assert read_record(tmp_path) == [ROW]


@pytest.mark.parametrize("name", ["stages", "store", "cells"])
def test_page_has_the_figures_of_the_records(name):
    (record,) = RECORDS.glob(f"{name}_*.md")
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    rows = read_record(RECORDS)
    if name == "stages":
        lines = [*tabulate_times(rows), *tabulate_costs(measure_core_times(rows), costs.PRICE)]
    else:
        lines = [line for line in record.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert f"`benchmarks/records/{record.name}`" in page
    assert [line for line in lines if line not in page] == [], f"see `python -m benchmarks.records {name}`"
