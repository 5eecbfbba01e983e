"""The edge benchmark: targets by whole intervals, limits that are kept."""

from __future__ import annotations

import threading

import numpy as np
import onnx
import pytest

from benchmarks.edge import device as device_limits
from benchmarks.edge import latency, tables
from benchmarks.edge.runtimes import Setting, Variant, move_to_own_thread
from benchmarks.edge.shapes import STUDENTS, TEACHER, TEACHER_NAME, build_model, draw_batch
from harness.config import KNOWN_TEACHERS, load_recipe, load_scale, show


def row(model, runtime, p50_ms, ratio, *, form="legacy"):
    return {
        "model": model, "runtime": runtime, "precision": "int8", "form": form, "p50_ms": p50_ms,
        "speed_ratio": ratio, "size_bytes": 5_000_000, "samples_ms": (p50_ms,) * 5,
    }  # fmt: skip


def test_target_needs_the_whole_interval():
    rows = []
    for place, (name, (_, target)) in enumerate(STUDENTS.items()):
        low = target.speed - (0.1 if place == 1 else 0)
        rows.append(row(name, "onnxruntime", 4.0, (target.speed + 1, low, target.speed + 2)))
        rows.append(row(name, "onnxruntime", 5.0, (1, 1, 1), form="slow"))
        rows += [row(name, "peer 1", time_ms, (1, 1, 1)) for time_ms in (7.0, 6.0, 9.0)]
    verdicts = latency.check_targets(rows)
    assert [one["speed_met"] for one in verdicts] == [True, False, True]
    assert [one["size_met"] for one in verdicts] == [True, True, True]
    assert {one["form"] for one in verdicts} == {"legacy"}
    assert verdicts[0]["times_as_fast_as"]["peer 1 int8"] == pytest.approx((1.5, 1.5, 1.5))


def test_tables_show_met_missed_and_absent():
    target = {
        "model": "m", "speed_ratio": (15.0, 14.0, 15.5), "speed_wanted": 16, "speed_met": False,
        "size_mb": 24.5, "size_wanted_mb": 25, "size_met": True,
        "times_as_fast_as": {"openvino": (0.9, 0.8, 1.0)},
    }  # fmt: skip
    ended = {"model": "m", "precision": "int8", "limits": "one core", "ended": "exit -9: killed"}
    numbers = {"targets": [target], "rows": [], "device": [ended], "compressed": []}
    text = "\n".join(tables.draw_tables(numbers, {"ctranslate2, m": "not installed"}))
    row = "| m | 15.00 (14.00–15.50) | ≥ 16: MISSED | 24.50 | ≤ 25: met | openvino 0.90 (0.80–1.00) |"
    assert row in text
    assert "| m | int8 | one core | exit -9: killed | – | – |" in text
    assert "- absent: ctranslate2, m: not installed" in text


def test_fastest_form_is_kept():
    forms = ("a", "b")
    made = [Variant("m", "r", "int8", form, None, None, lambda _: int) for form in forms]
    rows = [row("m", "r", time_ms, (1, 1, 1)) for time_ms in (2.0, 1.0)]
    assert [one.form for one in latency.keep_fastest(made, rows)] == ["b"]


def test_rows_are_compared_with_the_teachers_fastest():
    made = [
        Variant(name, "r", "fp32", "f", None, None, lambda _: lambda: sum(range(2000)))
        for name in (TEACHER_NAME, "student")
    ]
    rows = latency.time_variants(made, Setting(4, 8, 1), budget_s=0.05, min_rounds=5)
    assert rows[0]["speed_ratio"] == (1, 1, 1)
    for one in rows:
        assert one["rows_per_s"] == pytest.approx(4e3 / one["p50_ms"])
        assert one["p50_ms"] <= one["p90_ms"] <= one["p99_ms"]
        assert len(one["samples_ms"]) >= 5


def test_shapes_are_the_papers():
    assert (
        sum(one.numel() for one in build_model(STUDENTS["browser (4 x 256, heads of 64)"][0]).parameters())
        < 6e6
    )
    assert (TEACHER.layers, TEACHER.hidden, TEACHER.ffn) == (12, 768, 3072)
    assert draw_batch(50, 7, 3)["input_ids"].shape == (3, 7)


@pytest.mark.parametrize(
    ("recipe", "model"), [("gurgurov2025", 0), ("compact2026@edge", 1), ("compact2026@browser", 2)]
)
def test_timed_shapes_are_those_of_recipes(recipe, model):
    made = show(load_recipe(recipe), KNOWN_TEACHERS["mbert"].shape, load_scale("paper"))[-1].shape
    assert list(STUDENTS.values())[model][0] == (
        made.layers,
        made.hidden,
        made.heads,
        made.ffn,
        made.vocabulary,
    )


def write_lookup(path, rows):
    """Write a model that looks ids up in a stored matrix with a number of rows."""
    value = onnx.helper.make_tensor_value_info
    stored = onnx.numpy_helper.from_array(np.ones((rows, 64), np.float32), "table")
    node = onnx.helper.make_node("Gather", ["table", "input_ids"], ["logits"])
    ends = value("input_ids", 7, ["b", "s"]), value("logits", 1, ["b", "s", 64])
    graph = onnx.helper.make_graph([node], "g", [ends[0]], [ends[1]], [stored])
    onnx.save(
        onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)]), path
    )
    return path


@pytest.fixture(params=["process", "container"])
def device(request, monkeypatch):
    """Set the limits on a process, or in a container where an engine has the image."""
    if request.param == "process":
        monkeypatch.setattr(device_limits, "connect_to_engine", lambda: None)
    elif device_limits.connect_to_engine() is None:
        pytest.skip(f"no engine answers that has the image {device_limits.IMAGE}")
    return request.param


@pytest.mark.slow
def test_limits_are_kept_and_named(tmp_path, device):
    ballast = np.ones(
        device_limits.MEMORY_BYTES + 1, np.uint8
    )  # the measuring process may be larger than a device
    small = device_limits.measure_under_limits(write_lookup(tmp_path / "small.onnx", 100), 8, 100)
    del ballast
    assert "512 MiB by" in small["limits"]
    assert ("container" in small["limits"]) == (device == "container")
    assert small["cold_ms"] == pytest.approx(small["import_ms"] + small["open_ms"] + small["first_ms"])
    assert 0 < small["p50_ms"] < small["cold_ms"]
    assert 1e6 < small["peak_bytes"] <= 512 * 2**20
    large = device_limits.measure_under_limits(write_lookup(tmp_path / "large.onnx", 3_000_000), 8, 100)
    assert large["ended"].startswith("exit ")
    assert "p50_ms" not in large


def test_each_runtime_has_its_own_thread():
    names = [move_to_own_thread(runtime, threading.get_ident)() for runtime in ("one", "two", "one")]
    assert names[0] == names[2]
    assert len({*names, threading.get_ident()}) == 3
