"""The timed ways of distilling compute and time the right thing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.training import throughput
from benchmarks.training.ways import (
    CHAIN,
    MICRO_ROWS,
    OBJECTIVE,
    Part,
    Ways,
    compare_losses,
    draw_rows,
    get_mbert_sizes,
    get_tiny_sizes,
    make_pair,
    masked_loss,
    pad_batch,
    published_loss,
)
from harness.train.language_model.batches import MaskedBatches
from harness.train.losses.objective import total_loss
from harness.train.trainer import override_dropout

ROOT = Path(__file__).parents[3]


@pytest.fixture
def pair():
    return make_pair(get_tiny_sizes(), 90)


@pytest.fixture
def batch(pair):
    budget = Ways(get_tiny_sizes(), ROOT).make("batches by length", "documents").batches.budget
    return MaskedBatches(draw_rows("documents", get_tiny_sizes(), 90), pair.ids, budget)[0]


def test_both_ways_take_the_same_steps_without_padding(tmp_path):
    losses = compare_losses(get_tiny_sizes(), 12, tmp_path)
    assert len(losses) == 12
    published, ours = zip(*losses, strict=True)
    assert ours == pytest.approx(published, rel=2e-6)
    assert len(set(ours)) == 12


def test_trainer_leaves_padding_and_unmasked_positions_out(pair, batch):
    with override_dropout(pair.student, 0.0):
        long_way = masked_loss(pair.student, pair.teacher, batch)
        padded = masked_loss(pair.student, pair.teacher, pad_batch(batch, 64))
        ours, _ = total_loss(OBJECTIVE, pair.student, pair.teacher, batch)
        published = published_loss(pair.student, pair.teacher, pad_batch(batch, 64))
    assert float(ours.detach()) == pytest.approx(float(long_way.detach()), rel=1e-6)
    assert float(padded.detach()) == pytest.approx(float(long_way.detach()), rel=1e-6)
    assert float(published.detach()) != pytest.approx(float(long_way.detach()), rel=1e-4)  # it counts padding


def test_published_way_pads_eight_rows_to_the_longest(tmp_path):
    way = Ways(get_tiny_sizes(), tmp_path).make("published", "sentences")
    assert way.batch(3)["input_ids"].shape == (MICRO_ROWS, 64)
    part = way.time(3)
    assert part.tokens == pytest.approx(
        MICRO_ROWS * draw_rows("sentences", get_tiny_sizes(), 90).lengths.mean()
    )
    assert part.seconds > 0
    assert part.update_seconds > 0


@pytest.mark.parametrize("name", CHAIN[1:])
def test_way_counts_useful_tokens(name, tmp_path):
    way = Ways(get_tiny_sizes(), tmp_path).make(name, "documents")
    before = way.loop.pair if hasattr(way, "loop") else way.pair
    weights = before.student.bert.encoder.layer[0].output.dense.weight
    kept = weights.detach().clone()
    part = way.time(1)
    assert 300 < part.tokens <= 512
    assert not torch.equal(weights, kept)  # it trains
    assert before.student.config.vocab_size == (40 if name == "trimmed first" else 90)


def test_step_is_several_micro_batches_and_one_update():
    assert Part(tokens=100, seconds=2, update_seconds=1).step_seconds(450) == 10


def test_lengths_are_log_normal_and_cut():
    sizes = get_mbert_sizes()
    for kind, median in (("documents", 250), ("sentences", 25)):
        lengths = draw_rows(kind, sizes, 1000).lengths
        assert np.median(lengths) == pytest.approx(median, rel=0.05)
        assert lengths.max() <= 512
    assert set(draw_rows("full", sizes, 1000, num_rows=3).lengths) == {512}


def test_student_starts_as_the_upper_half_of_the_teacher(pair):
    layers = pair.teacher.bert.encoder.layer
    for own, its in zip(pair.student.bert.encoder.layer, layers[1:], strict=True):
        assert torch.equal(own.output.dense.weight, its.output.dense.weight)
    assert not any(one.requires_grad for one in pair.teacher.parameters())
    assert all(one.requires_grad for one in pair.student.parameters())


@pytest.fixture
def results():
    """Ours takes a tenth of the published way's time on documents, a fortieth on sentences."""
    seconds = {"documents": 1.0, "sentences": 0.25}
    taken = {("published", kind): [Part(100, 10.0, 0.0)] * 3 for kind in seconds}
    for way in CHAIN[1:]:
        taken |= {(way, kind): [Part(100, one, 0.0)] * 3 for kind, one in seconds.items()}
    return throughput.compare_ways(taken, get_tiny_sizes())


def test_ratios_are_to_the_published_and_the_previous_way(results):
    by_way = {(one.way, one.kind): one for one in results}
    assert by_way["bf16", "documents"].ratio_to_published == pytest.approx((10, 10, 10))
    assert by_way["bf16", "documents"].ratio_to_previous == pytest.approx((1, 1, 1))
    assert by_way["batches by length", "sentences"].ratio_to_previous == pytest.approx((40, 40, 40))
    assert by_way["published", "documents"].ratio_to_previous is None
    assert by_way["published", "documents"].tokens_per_s == pytest.approx(10)


@pytest.mark.parametrize(("ours", "expected"), [(2, "reached"), (30, "missed")])
def test_target_is_reached_or_missed(results, ours, expected):
    lines = throughput.check_targets(
        results, {"published": 100, "activation checkpointing": 26, "trimmed first": ours}
    )
    assert [line for line in lines if line.startswith("- trimmed first")] == [
        "- trimmed first, documents: 10.00x (10.00–10.00), target ≥ 5x: reached",
        "- trimmed first, sentences: 40.00x (40.00–40.00), target ≥ 20x: reached",
        f"- trimmed first, peak memory: 0.{ours:02d} of the published way's, target ≤ 0.25: {expected}",
    ]
    assert [line.endswith("missed") for line in lines if "activation" in line] == [False, False, True]


def test_command_writes_a_record(tmp_path, monkeypatch):
    monkeypatch.setattr(throughput, "measure_peaks", lambda chain, _: dict.fromkeys(chain, 7))
    command = f"training --sizes tiny --rounds 2 --agreeing-steps 1 --record {tmp_path}"
    monkeypatch.setattr(sys, "argv", command.split())
    throughput.main()
    (path,) = tmp_path.glob("training_*.json")
    record = json.loads(path.read_text())
    assert {(one["way"], one["kind"]) for one in record["results"]} == {
        (way, kind) for way in CHAIN for kind in ("documents", "sentences")
    }
    assert all(len(one["parts"]) == 2 for one in record["results"])
    assert record["environment"]["ops"] in {"compiled", "reference"}
    assert record["peak_bytes"]["published"] == 7
    text = path.with_suffix(".md").read_text()
    assert text.startswith("# Training\n")
    assert "| trimmed first |" in text


def test_peak_memory_is_measured_in_a_process_of_its_own(tmp_path, monkeypatch):
    def run(command, **_):
        assert command[1:] == ["-m", "benchmarks.training", "--sizes", "tiny", "--peak-of", "Gram form"]
        return subprocess.CompletedProcess(command, 0, stdout=f"a line\n{peak}\n")

    peak = throughput.measure_peak("Gram form", get_tiny_sizes(), tmp_path)
    assert peak is None or peak > 50e6
    monkeypatch.setattr(throughput.subprocess, "run", run)
    assert throughput.measure_peaks(["Gram form"], "tiny") == {"Gram form": peak}
