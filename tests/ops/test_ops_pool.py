"""The memory pool: the same numbers, blocks that do not overlap, little memory, every reason against it."""

from __future__ import annotations

import multiprocessing
import random
import resource

import pytest
import torch
from torch import nn

from harness.errors import UsageError
from harness.limits import Limits
from harness.ops import pool
from harness.ops.pool import explain_pool, memory_pool, read_pool_peak, refuse_overfull_memory
from harness.pipeline.memory import read_peak_bytes, reset_peak

compiled = pytest.mark.skipif(not explain_pool()[0], reason=explain_pool()[1])
MEBIBYTE = 2**20


def train_few_steps():
    """Train a small model on batches of several lengths and return its weights."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(96, 256), nn.GELU(), nn.Linear(256, 96))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for step in range(6):
        values = torch.randn(200 + 37 * step, 96)
        model(values).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return [parameter.detach() for parameter in model.parameters()]


@compiled
def test_training_has_the_same_weights_in_the_pool():
    expected = train_few_steps()
    with memory_pool():
        weights = train_few_steps()
    assert read_pool_peak() > MEBIBYTE
    assert all(torch.equal(one, other) for one, other in zip(weights, expected, strict=True))


@compiled
def test_a_freed_block_serves_a_tensor_of_its_size():
    with memory_pool():
        kept = [torch.empty(MEBIBYTE) for _ in range(3)]
        freed = kept.pop(1).data_ptr()
        assert torch.empty(MEBIBYTE).data_ptr() == freed
        assert torch.empty(MEBIBYTE).data_ptr() == freed
        assert all(tensor.data_ptr() % 64 == 0 for tensor in kept)


@compiled
def test_blocks_of_random_sizes_do_not_overlap():
    drawn, live = random.Random(3), {}
    with memory_pool():
        for step in range(1500):
            if live and drawn.random() < 0.5:
                number, tensor = live.popitem() if drawn.random() < 0.3 else drawn.choice([*live.items()])
                live.pop(number, None)
                assert bool((tensor == number).all())
            else:
                size = drawn.choice([3, 20_000, drawn.randrange(16_384, 300_000)])
                live[step] = torch.full((size,), step, dtype=torch.int32)
    assert all(bool((tensor == number).all()) for number, tensor in live.items()), "tensors outlive the pool"


@compiled
def test_blocks_of_many_lengths_need_little_more_than_is_in_use():
    drawn = random.Random(5)
    with memory_pool():
        torch.empty(MEBIBYTE)
        reset_peak()
        before, most = read_peak_bytes(), 0
        for _ in range(60):
            rows = drawn.randrange(64, 512)
            layers = [torch.ones(rows, drawn.choice([1024, 4096])) for _ in range(24)]
            most = max(most, sum(4 * layer.numel() for layer in layers))
            layers.clear()
        assert read_peak_bytes() - before < 1.3 * most


@compiled
def test_holes_that_no_later_block_fits_do_not_pile_up():
    """Every second block is freed again and again, and the blocks that come are larger than their holes."""
    most, live = 256 * MEBIBYTE, []
    with memory_pool():
        torch.empty(MEBIBYTE)
        reset_peak()
        before = read_peak_bytes()
        for size in range(8 * MEBIBYTE, 14 * MEBIBYTE, MEBIBYTE):
            live = live[::2]
            while sum(block.numel() for block in live) < most:
                live.append(torch.full((size,), len(live), dtype=torch.uint8))
        assert read_peak_bytes() - before < 1.35 * (most + size)
    del live


@compiled
def test_unused_memory_is_given_back():
    with memory_pool():
        large = torch.ones(64 * MEBIBYTE)
        del large
    reset_peak()
    settled = read_peak_bytes()
    with memory_pool():
        large = torch.ones(64 * MEBIBYTE)
        del large
    assert read_peak_bytes() - settled > 200 * MEBIBYTE
    reset_peak()
    assert read_peak_bytes() - settled < 50 * MEBIBYTE


@compiled
def test_a_tensor_beyond_the_free_memory_is_refused(monkeypatch):
    monkeypatch.setattr(Limits, "read_free_memory", lambda _: 40 * MEBIBYTE)
    with memory_pool(), refuse_overfull_memory():
        torch.empty(2 * MEBIBYTE)
        with pytest.raises(torch.OutOfMemoryError, match="allocate memory: 400000000 bytes do not fit"):
            torch.empty(100_000_000)
        torch.empty(2 * MEBIBYTE)
    with memory_pool():
        assert torch.empty(100_000_000).numel() == 100_000_000


@compiled
def test_a_forked_process_can_use_the_pool():
    with memory_pool():
        torch.empty(MEBIBYTE)
        child = multiprocessing.get_context("fork").Process(target=torch.empty, args=(MEBIBYTE,))
        child.start()
        child.join(20)
    assert child.exitcode == 0


@pytest.fixture
def explain(monkeypatch):
    """Return a function that opens the pool again and returns whether and why."""

    def explain():
        with monkeypatch.context() as patched:
            patched.setattr(pool, "_open", pool._open.__wrapped__)
            used, reason = explain_pool()
            if not used:
                with memory_pool(), refuse_overfull_memory():
                    assert torch.ones(MEBIBYTE).sum() == MEBIBYTE
                assert read_pool_peak() == 0
            return used, reason

    return explain


def test_the_pool_can_be_switched_off(explain, monkeypatch):
    monkeypatch.setenv("HARNESS_POOL", "0")
    assert explain() == (False, "HARNESS_POOL=0")
    monkeypatch.setenv("HARNESS_POOL", "yes")
    with pytest.raises(UsageError, match="unknown value of HARNESS_POOL 'yes'; there are: 0, 1"):
        explain()


def test_a_library_that_is_absent_or_broken_is_not_used(explain, monkeypatch, tmp_path):
    monkeypatch.setattr(pool, "__file__", str(tmp_path / "pool.py"))
    assert explain() == (False, "the pool is not compiled")
    (tmp_path / "_kernels_memory.abi3.so").write_bytes(b"no library")
    used, reason = explain()
    assert not used
    assert reason.startswith("_kernels_memory.abi3.so does not load: ")


@compiled
def test_a_library_for_another_torch_is_not_used(explain, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "9.9.9+cpu")
    used, reason = explain()
    assert not used
    assert reason.startswith("the pool is compiled for torch 2.")
    assert reason.endswith(", and 9.9.9+cpu runs")


@compiled
def test_a_process_whose_addresses_are_limited_has_no_pool(explain, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2**33, 2**33))
    assert explain() == (False, "the addresses of this process are limited (ulimit -v)")
