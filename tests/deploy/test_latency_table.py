"""The table of measured latencies: kept by machine and setting, and read again."""

from __future__ import annotations

import pytest

from harness.config.shape import Shape
from harness.deploy import latency_table, student_timing
from harness.deploy.latency_table import LatencySetting, find_table, keep_table, list_table_shapes
from harness.errors import HarnessError

TEACHER = Shape(family="bert", layers=3, hidden=32, heads=4, ffn=48, vocabulary=60, positions=32, types=2)
SETTING = LatencySetting("int8", 16, 1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def keep(setting=SETTING, teacher=TEACHER):
    shapes = list_table_shapes(teacher)
    return keep_table(teacher, setting, [0.1 + 0.001 * shape.layers * shape.hidden for shape in shapes])


def test_kept_table_is_read_again(cache):
    assert find_table(TEACHER, SETTING) is None
    kept = keep()
    assert find_table(TEACHER, SETTING) == kept
    assert kept.path.is_relative_to(cache / "harness")
    assert [path.name for path in kept.path.parent.iterdir()] == [kept.path.name]


def test_another_setting_machine_or_teacher_has_another_table(monkeypatch):
    keep()
    wider = TEACHER.model_copy(update={"hidden": 64})
    for teacher, setting in (
        (wider, SETTING),
        (TEACHER, LatencySetting("fp32", 16, 1)),
        (TEACHER, LatencySetting("int8", 8, 1)),
        (TEACHER, LatencySetting("int8", 16, 2)),
    ):
        assert find_table(teacher, setting) is None
    monkeypatch.setattr(latency_table, "find_version", lambda _: "0.0")
    assert find_table(TEACHER, SETTING) is None


@pytest.mark.parametrize("content", ["", "{}", '{"students": [{"shape": {}, "p50_ms": 1}]}', "[]"])
def test_damaged_table_is_refused(content):
    path = keep().path
    path.write_text(content, encoding="utf-8")
    with pytest.raises(HarnessError, match=rf"latency {path}: expected a table .* got a damaged file"):
        find_table(TEACHER, SETTING)


def test_table_spans_the_teacher_and_no_more():
    shapes = list_table_shapes(TEACHER)
    assert len(set(map(repr, shapes))) == len(shapes) >= 12
    for name in ("layers", "hidden", "heads", "ffn", "vocabulary"):
        assert min(getattr(one, name) for one in shapes) >= 1
        assert max(getattr(one, name) for one in shapes) <= getattr(TEACHER, name)
    assert {one.head_size for one in shapes} == {TEACHER.head_size}


def test_students_are_timed_in_turns(monkeypatch):
    monkeypatch.setattr(student_timing, "_EACH_S", 0.0)
    deep = TEACHER.model_copy(update={"layers": 12, "vocabulary": 50})
    calls = []
    shallow, slow = student_timing.time_students([TEACHER, deep], SETTING, lambda *done: calls.append(done))
    assert calls == [(1, 2), (2, 2)]
    assert 0 < shallow.p50_ms < slow.p50_ms
    assert shallow.size_bytes < slow.size_bytes
