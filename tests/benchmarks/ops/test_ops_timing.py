"""The ops' benchmark refuses a variant that computes something else, and reports which targets it reached."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from benchmarks.common import recording
from benchmarks.ops import targets, timing
from benchmarks.ops.cases import BUILDERS, SHAPES, Case
from harness.errors import HarnessError
from harness.measure.latency import Samples

SMALL = SHAPES["cpu"]["small"]


def without_compiler(case):
    """Leaves torch.compile's variant out: compiling takes longer than all else."""
    return replace(case, variants={name: one for name, one in case.variants.items() if name != "compile"})


@pytest.mark.parametrize(("name", "shape", "dtype"), SMALL, ids=[name for name, _, _ in SMALL])
def test_every_variant_computes_the_same(name, shape, dtype):
    case = without_compiler(BUILDERS[name](shape, dtype, "cpu"))
    mistakes, results_bytes = timing.check_case(case)
    assert set(mistakes) == set(case.variants)
    assert max(mistakes.values()) < 1e-4
    assert mistakes["eager"] == 0
    assert results_bytes > 4
    assert case.traffic_bytes or case.flops


def test_every_case_names_a_builder():
    assert {name for cases in SHAPES.values() for size in cases.values() for name, _, _ in size} == set(
        BUILDERS
    )


def test_wrong_variant_is_refused():
    variants = {"eager": lambda: [torch.ones(3)], "harness": lambda: [torch.ones(3) * 1.01]}
    case = Case("an_op", {"N": 3}, torch.float32, variants, 1, 1)
    with pytest.raises(
        HarnessError, match=r"^benchmark of an_op: expected harness within 1e-03 of eager; got 1\.0e-02; "
    ):
        timing.check_case(case)
    variants["harness"] = lambda: [torch.full((3,), float("nan"))]
    with pytest.raises(HarnessError, match="got nan"):
        timing.check_case(case)


@pytest.fixture
def measured():
    """Return the first target's case: eager takes ten times as long as ours, Liger's pattern three times."""
    target = targets.TARGETS[0]
    taken = {
        name: Samples((ms * 10**6,) * 5)
        for name, ms in {"eager": 100, "compile": 50, "liger pattern": 30, "harness": 10}.items()
    }
    rows = [
        timing.Row(
            op=target.op,
            shape=dict(target.shape),
            dtype=target.dtype,
            variant=name,
            median_ms=samples.median_ms,
            ratio_to_eager=(1.0, 1.0, 1.0),
            peak_bytes=5000 if name == "eager" else 1010,
            results_bytes=1000,
            bandwidth_fraction=0.5,
            flops_fraction=None,
            mistake=0.0,
            samples_ms=(1.0,),
        )
        for name, samples in taken.items()
    ]
    return rows, taken


def test_missed_target_is_explained_by_a_profile(measured):
    rows, taken = measured
    variants = dict.fromkeys(taken, lambda: torch.ones(64, 64).exp_().sum())
    lines = targets.check_targets(rows, taken, variants)
    assert lines[:4] == [
        "- harness: 10.00x (10.00–10.00) as fast as eager, target ≥ 8x: reached",
        "- harness: 5.00x (5.00–5.00) as fast as compile, target ≥ 4x: reached",
        "- harness: 3.00x (3.00–3.00) as fast as liger pattern, target ≥ 4x: missed",
        "- harness: 1010 B added, target ≤ 1 of the results (1000 B): reached",
    ]
    explained = [line for line in lines if line.startswith("| ")]
    assert [line.split(" |")[0] for line in explained] == ["| variant", "| harness", "| liger pattern"]
    assert "aten::exp_" in explained[1]


def test_target_needs_the_whole_interval(measured):
    rows, taken = measured
    wide = taken | {"eager": Samples(tuple(ms * 10**6 for ms in (40, 60, 100, 140, 160)))}
    lines = targets.check_targets(rows, wide, dict.fromkeys(taken, lambda: torch.ones(2)))
    assert lines[0].startswith(
        "- harness: 10.00x (4.00–16.00) as fast as eager, target ≥ 8x: reached, but not"
    )


@pytest.mark.parametrize(
    ("peak", "variant", "expected"),
    [
        (None, "harness", None),
        (0, "eager", None),
        (940, "eager", None),
        (960, "eager", 960),
        (0, "harness in place", 0),
    ],
)
def test_implausible_memory_is_none(peak, variant, expected):
    assert timing._drop_implausible(peak, 1000, variant) == expected


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator of glibc")
def test_freed_memory_counts_as_added():
    kept = [torch.ones(20_000) for _ in range(400)]
    last = torch.ones(20_000)  # the heap cannot shrink below it by itself
    kept.clear()
    grown = timing.measure_added_memory(lambda: [torch.ones(20_000) for _ in range(300)], "cpu")
    assert last.numel() == 20_000
    assert grown >= 0.9 * 300 * 80_000


def test_workspace_is_compared_with_eager(measured):
    rows, _ = measured
    target = targets.Target("an_op", {}, "float32", "harness", workspace=1 / 7)
    ours, eager = replace(rows[-1], peak_bytes=1500), rows[0]
    (line,) = targets._check_memory(target, ours, eager)
    assert line == "500 B in addition to the results, 0.12 of eager's, target ≤ 0.14: reached"
    (line,) = targets._check_memory(target, replace(ours, peak_bytes=1700), eager)
    assert line.endswith("missed")
    assert targets._check_memory(target, replace(ours, peak_bytes=None), eager) == []


def test_case_without_targets_has_no_lines(measured):
    rows, taken = measured
    assert targets.check_targets([replace(one, op="other") for one in rows], taken, {}) == []


def test_every_target_has_a_case():
    cases = [(name, shape, str(dtype).removeprefix("torch.")) for name, shape, dtype in SHAPES["cpu"]["full"]]
    for target in targets.TARGETS:
        assert (target.op, target.shape, target.dtype) in cases


def test_record_is_named_after_machine_month_and_commit(tmp_path):
    about = dict.fromkeys(recording.SHOWN) | {"cpu": "A (R) CPU, 2 GHz", "gpu": None, "commit": "0123456789"}
    path = recording.write_record(tmp_path, "ops", about, {"rows": [1]}, ["one", "two", ""])
    assert path.name.startswith("ops_a-r-cpu-2-ghz_20")
    assert path.name.endswith("_0123456.json")
    assert path.with_suffix(".md").read_text().endswith("\n\none\ntwo\n")
    name = recording.name_record("ops", about | {"gpu": "NVIDIA H200"})
    assert name.startswith("ops_nvidia-h200_")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_missing_gpu_is_reported_in_one_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ops", "--device", "cuda"])
    with pytest.raises(SystemExit) as caught:
        timing.main()
    assert str(caught.value) == (
        "benchmarks.ops: --device cuda: expected an NVIDIA GPU that torch can use; got none; leave it out"
    )


def test_command_writes_tables_and_record(tmp_path, monkeypatch, capsys):
    builders = {
        name: lambda *all, build=build: without_compiler(build(*all)) for name, build in BUILDERS.items()
    }
    monkeypatch.setattr(timing, "BUILDERS", builders)
    command = f"ops --shapes small --only hidden_state_loss --budget-s 0 --min-rounds 2 --record {tmp_path}"
    monkeypatch.setattr(sys, "argv", command.split())
    timing.main()
    printed = capsys.readouterr().out
    assert "### hidden_state_loss: layers = 2, N = 256, D = 96, float32" in printed
    assert len(list(tmp_path.glob("ops_*.json"))) == len(list(tmp_path.glob("ops_*.md"))) == 1
