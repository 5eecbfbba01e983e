"""What a plan needs: more work takes longer, and stages that are done need nothing."""

from __future__ import annotations

import dataclasses

import pytest

from harness.config.load import load_recipe, load_scale
from harness.config.shape import KNOWN_TEACHERS
from harness.pipeline.manifest import Manifest
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.status import status
from harness.pipeline.store import Store
from harness.plans import estimate
from harness.plans.estimate import count_work, estimate_plan
from harness.plans.run import plan_run


@pytest.fixture
def planned(tmp_path, write_scale, write_recipe):
    """Return the plan of a tiny run, its states, and an empty store."""
    plan = plan_run("mt", load_recipe(write_recipe(tmp_path)), load_scale(write_scale(tmp_path))).plan
    store = Store(tmp_path / "runs")
    return plan, status(plan, store), store


def test_estimate_covers_every_missing_stage(planned):
    plan, rows, store = planned
    estimated = estimate_plan(plan, rows, store)
    assert set(estimated.stage_seconds) == {stage.id for stage in plan}
    assert estimated.seconds == pytest.approx(sum(estimated.stage_seconds.values()))
    assert estimated.num_timed == 0
    assert estimated.memory_bytes > estimate.LIBRARIES_BYTES
    assert 0 < estimated.disk_bytes < estimated.disk_free_bytes


def test_done_stages_need_nothing(planned):
    plan, rows, store = planned
    done = [dataclasses.replace(row, state="done") for row in rows]
    estimated = estimate_plan(plan, done, store)
    assert (estimated.num_stages, estimated.seconds, estimated.disk_bytes) == (0, 0.0, 0)


MADE = Manifest.model_construct(inputs={}, config={}, wall_s=9.0, kind="distill")


def make_training(**config):
    """Return a stage that trains XLM-R towards itself."""
    stated = {"tokens": 1000, "learning_rate": 1e-3, "mask_fraction": 0.2, "batch_tokens": 100} | config
    return Stage("distill", "distill", 1, stated, {"model": "teacher", "teacher": "teacher"})


def test_work_grows_with_tokens_and_with_logits_at_every_position():
    shapes = dict.fromkeys(("teacher", "distill"), KNOWN_TEACHERS["xlmr"].shape)
    work = count_work(make_training(), shapes)
    assert count_work(make_training(tokens=3000), shapes) == pytest.approx(3 * work)
    assert count_work(make_training(loss={"logit_mse": 1.0}), shapes) > 2 * work


def test_layers_by_influence_take_a_pass_for_each_that_is_tried():
    shape = KNOWN_TEACHERS["mbert"].shape
    config = {"layers": [], "tokens": 1000, "mask_fraction": 0.2}
    shapes = {"teacher": shape, "shorten": shape}
    one, many = (
        count_work(Stage("shorten", "shorten", 1, config | more, {"model": "teacher"}), shapes)
        for more in ({}, {"number": 6})
    )
    assert many == pytest.approx(57 * one)


def test_more_examples_take_longer_to_score():
    shape = KNOWN_TEACHERS["mbert"].shape
    protocol = {"epochs": 3, "max_length": 64, "batch_size": 16}
    stage = Stage("score", "score", 1, {"protocol": protocol, "seeds": [1, 2]}, {"model": "teacher"})
    small, large = (count_work(stage, {"score": shape}, sizes) for sizes in ((10, 0, 0), (100, 0, 0)))
    assert large == pytest.approx(10 * small)


def test_plan_without_stages_needs_nothing(tmp_path):
    assert estimate_plan(Plan([]), [], Store(tmp_path / "none" / "runs")).seconds == 0


def test_estimate_reads_some_manifests_of_each_kind_of_a_large_store(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(estimate.manifest, "read", lambda folder: read.append(folder.name) or MADE)
    monkeypatch.setattr(estimate, "MOST_READ", 3)
    for number in range(9):
        for name in ("distill", "distill-2", "score.pos.tune"):
            (tmp_path / "mt" / "a" / f"{number:02d}-{name}-{number:06x}{len(name):06x}").mkdir(parents=True)
    estimate._read_speeds(Store(tmp_path))
    assert sorted({name.split("-")[1] for name in read}) == ["distill", "score.pos.tune"]
    assert len(read) == 6


@pytest.mark.parametrize(
    ("flags", "gain"), [(["avx2", "avx512_bf16"], 2.0 / 0.3), (["avx2"], 1.0), (None, 1.0)]
)
def test_bf16_is_estimated_faster_where_the_processor_has_it(flags, gain, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "measure_speed", lambda: 1e9)
    monkeypatch.setattr(estimate, "describe", lambda: {"isa": flags})
    monkeypatch.setattr(estimate, "FEWEST_S", 0.0)
    shapes = {"shape": KNOWN_TEACHERS["xlmr"].shape.model_dump()}
    store, seconds = Store(tmp_path), {}
    for precision in ("fp32", "auto"):
        plan = Plan([Stage("adapt", "adapt", 1, make_training(precision=precision).config | shapes, {})])
        seconds[precision] = estimate_plan(plan, status(plan, store), store).seconds
    assert seconds["fp32"] / seconds["auto"] == pytest.approx(gain)
