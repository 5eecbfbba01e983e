from __future__ import annotations

import shutil

import pytest

from harness.errors import HarnessError
from harness.pipeline import Plan, Stage
from harness.pipeline.store import Store


def stages(tmp_path, **changes):
    """Return two stages; the first reads a folder from outside."""
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


def test_key_is_twelve_digits_and_reproducible(tmp_path):
    assert keys(tmp_path) == keys(tmp_path)
    assert all(len(key) == 12 and int(key, 16) >= 0 for key in keys(tmp_path).values())


@pytest.mark.parametrize(
    "changes", [{"kind": "other"}, {"version": 2}, {"config": {"seed": 2, "tokens": 5}}, {"inputs": {}}]
)
def test_change_of_config_or_input_changes_all_later_keys(changes, tmp_path):
    before, after = keys(tmp_path), keys(tmp_path, **changes)
    assert before["first"] != after["first"]
    assert before["second"] != after["second"]


def test_order_of_config_keys_does_not_change_the_key(tmp_path):
    assert keys(tmp_path) == keys(tmp_path, config={"tokens": 5, "seed": 1})


def test_name_of_a_stage_does_not_change_the_key(tmp_path):
    renamed = Stage("other", *list(vars(stages(tmp_path)[0]).values())[1:])
    assert Plan([renamed]).keys["other"] == keys(tmp_path)["first"]


def test_folder_from_outside_is_read_by_content(tmp_path):
    before = keys(tmp_path)
    shutil.copytree(tmp_path / "text", tmp_path / "moved")
    assert keys(tmp_path, inputs={"text": tmp_path / "moved"}) == before
    (tmp_path / "moved" / "b.txt").write_text("two")
    more = keys(tmp_path, inputs={"text": tmp_path / "moved"})
    (tmp_path / "moved" / "b.txt").rename(tmp_path / "moved" / "c.txt")
    renamed = keys(tmp_path, inputs={"text": tmp_path / "moved"})
    assert len({before["first"], more["first"], renamed["first"]}) == 3


def test_missing_input_is_named(tmp_path):
    with pytest.raises(
        HarnessError, match=r"^first: expected the input 'text' at .*nowhere; got none; put it there$"
    ):
        keys(tmp_path, inputs={"text": tmp_path / "nowhere"})


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (
            [Stage("a", "k", 1, {}, {"model": "b"}), Stage("b", "k", 1, {}, {})],
            "plan: a: expected an earlier stage as input 'model'; got 'b'; there are: none",
        ),
        (
            [Stage("a", "k", 1, {}, {}), Stage("a", "k", 2, {}, {})],
            "plan: expected unique stage ids; got 'a' twice; rename one",
        ),
        (
            [Stage("../a", "k", 1, {}, {})],
            "plan: expected a stage id of letters, digits and dashes; got '../a'",
        ),
    ],
)
def test_invalid_plan_is_refused(plan, message):
    with pytest.raises(HarnessError) as caught:
        Plan(plan)
    assert str(caught.value) == message


def test_plans_that_share_digests_read_a_file_once(tmp_path):
    digests = {}
    first = Plan(stages(tmp_path), digests)
    keys = first.keys
    shutil.rmtree(tmp_path / "text")
    assert list(digests) == [tmp_path / "text"]
    assert Plan(first.stages, digests).keys == keys
    with pytest.raises(HarnessError, match="expected the input 'text'"):
        Plan(first.stages).keys  # noqa: B018


def test_index_has_the_folders_that_find_returns(tmp_path):
    store, key = Store(tmp_path), "0123456789ab"
    for name in (f"mt/b/01-corpus-{key}", f"mt/a/07-corpus-{key}", "sl/a/02-score.pos.tune-ba9876543210"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name).with_name(f".partial-{(tmp_path / name).name}").mkdir()
    finished, unfinished = store.index(), store.index_partial()
    assert finished == {one: store.find(one) for one in (key, "ba9876543210")}
    assert unfinished == {one: store.find_partial(one) for one in (key, "ba9876543210")}
    assert finished[key] == tmp_path / "mt" / "a" / f"07-corpus-{key}"
