from __future__ import annotations

import shutil

import pytest

from harness.errors import HarnessError
from harness.pipeline import Plan, Stage


def stages(tmp_path, **changes):
    """Two stages, the first reading a folder from outside."""
    (tmp_path / "text").mkdir(exist_ok=True)
    (tmp_path / "text" / "a.txt").write_text("one")
    first = {
        "kind": "make",
        "version": 1,
        "config": {"seed": 1, "tokens": 5},
        "inputs": {"text": tmp_path / "text"},
    }
    first |= changes
    return [Stage(id="first", **first), Stage("second", "make", 1, {}, {"model": "first"})]


def keys(*args, **changes):
    return Plan(stages(*args, **changes)).keys


def test_a_key_is_twelve_hexadecimal_digits_and_always_the_same(tmp_path):
    assert keys(tmp_path) == keys(tmp_path)
    assert all(len(key) == 12 and int(key, 16) >= 0 for key in keys(tmp_path).values())


@pytest.mark.parametrize(
    "changes", [{"kind": "other"}, {"version": 2}, {"config": {"seed": 2, "tokens": 5}}, {"inputs": {}}]
)
def test_what_decides_the_outputs_changes_the_keys_all_the_way_down(changes, tmp_path):
    before, after = keys(tmp_path), keys(tmp_path, **changes)
    assert before["first"] != after["first"]
    assert before["second"] != after["second"]


def test_the_order_of_keys_changes_nothing(tmp_path):
    assert keys(tmp_path) == keys(tmp_path, config={"tokens": 5, "seed": 1})


def test_the_name_of_a_stage_changes_nothing(tmp_path):
    renamed = Stage("other", *list(vars(stages(tmp_path)[0]).values())[1:])
    assert Plan([renamed]).keys["other"] == keys(tmp_path)["first"]


def test_a_folder_from_outside_is_read_by_content(tmp_path):
    before = keys(tmp_path)
    shutil.copytree(tmp_path / "text", tmp_path / "moved")
    assert keys(tmp_path, inputs={"text": tmp_path / "moved"}) == before
    (tmp_path / "moved" / "b.txt").write_text("two")
    more = keys(tmp_path, inputs={"text": tmp_path / "moved"})
    (tmp_path / "moved" / "b.txt").rename(tmp_path / "moved" / "c.txt")
    renamed = keys(tmp_path, inputs={"text": tmp_path / "moved"})
    assert len({before["first"], more["first"], renamed["first"]}) == 3


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(
        HarnessError, match=r"^first: the input 'text' is not there: .*nowhere; put it there$"
    ):
        keys(tmp_path, inputs={"text": tmp_path / "nowhere"})


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (
            [Stage("a", "k", 1, {}, {"model": "b"}), Stage("b", "k", 1, {}, {})],
            "plan: a: input 'model' is no earlier stage: 'b'; there are: none",
        ),
        (
            [Stage("a", "k", 1, {}, {}), Stage("a", "k", 2, {}, {})],
            "plan: the stage 'a' stands twice; rename one",
        ),
        (
            [Stage("../a", "k", 1, {}, {})],
            "plan: wanted a stage id of letters, digits and dashes; got '../a'",
        ),
    ],
)
def test_a_plan_that_cannot_run_is_refused(plan, message):
    with pytest.raises(HarnessError) as caught:
        Plan(plan)
    assert str(caught.value) == message
