"""The worker processes of a command: their number, threads and GPUs, and how their progress is shown."""

from __future__ import annotations

import io
import pickle
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from harness.api.options import ScaleOptions, plan_chosen_run
from harness.cli import threads, worker_choice
from harness.cli.threads import choose_threads
from harness.cli.watch import Watch
from harness.cli.worker_choice import WorkerChoice, select_workers
from harness.errors import UsageError
from harness.limits import Limits
from harness.pipeline import Stage
from harness.stages import RUNNERS

LONG, SHORT = (Stage(name, "score", 1, {}, {}) for name in ("score.sentiment.distill-2", "score.ner.tune"))


@pytest.fixture
def select(monkeypatch):
    """Return a function that selects workers on some machine; it returns their threads too."""

    def run(asked, threads_each=None, processors=8, gpus=(), given=None):
        chosen = []
        monkeypatch.setattr(worker_choice, "count_allowed", lambda: processors)
        monkeypatch.setattr(worker_choice, "list_gpus", lambda: gpus)
        monkeypatch.setattr(worker_choice, "read_given_first", lambda: given)
        monkeypatch.setattr(worker_choice, "select_threads", lambda *arguments: chosen.append(arguments))
        choice = select_workers(asked, threads_each, print)
        ((number, _, processes),) = chosen
        assert processes == choice.number
        return choice, number

    return run


@pytest.mark.parametrize(
    ("processors", "threads_each", "given", "expected"),
    [(1, None, None, (1, 1)), (2, None, None, (2, 1)), (4, None, None, (2, 2)), (64, None, None, (16, 4)),
     (64, 16, None, (4, 16)), (8, None, 2, (4, 2)), (2, 4, None, (1, 4))],
)  # fmt: skip
def test_auto_shares_the_processors(processors, threads_each, given, expected, select):
    choice, each = select("auto", threads_each, processors, given=given)
    assert (choice.number, each) == expected


def test_auto_takes_a_worker_for_each_gpu(select):
    choice, _ = select("auto", processors=64, gpus=("0", "3"))
    assert (choice.number, choice.gpus) == (2, ("0", "3"))
    assert choice.fit_memory(1 << 60) == 2


@pytest.mark.parametrize("asked", ["0", "-1", "many", "1.5", ""])
def test_number_of_workers_is_checked(asked):
    with pytest.raises(UsageError, match=r"^--workers: expected a number of at least 1, or auto; got '"):
        select_workers(asked, None, print)


def test_memory_bounds_the_automatic_number_alone():
    limits = SimpleNamespace(read_free_memory=lambda: 10_000)
    assert WorkerChoice(8, is_bounded=True).fit_memory(3_000, limits) == 3
    assert WorkerChoice(8, is_bounded=True).fit_memory(30_000, limits) == 1
    assert WorkerChoice(8).fit_memory(30_000, limits) == 8


def test_each_worker_has_its_share_of_the_threads(monkeypatch):
    monkeypatch.setattr(Limits, "count_processors", lambda _: 8)
    monkeypatch.setattr(Limits, "read_cpu_quota", lambda _: None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [choose_threads(None, variables={}, processes=n).number for n in (1, 2, 3, 8, 20)] == [
        None, 4, 2, 1, 1,
    ]  # fmt: skip
    assert choose_threads(None, variables={"OMP_NUM_THREADS": "2"}, processes=8).number == 2
    warned = choose_threads(4, variables={}, processes=4).warning
    assert warned.startswith(
        "expected at most 8 threads, the processors that this process may use; got 4 proc"
    )
    used = []
    monkeypatch.setattr(threads, "use_threads", used.append)
    monkeypatch.setattr(threads, "read_given_first", lambda: None)
    threads.select_threads(None, print, 4)
    assert used[0].number == 2


def show(width, terminal):
    """Return what a run of two stages at the same time prints."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=width, highlight=False)
    with Watch(console, 70, num_workers=2) as watch:
        for stage in (LONG, SHORT):
            watch.stage_started(stage, Path("x"), resuming=stage is SHORT)
        for done in (0, 1200):
            watch.progress(LONG, done, 3400, "tokens", {"loss": 2.3412, "rate": 0.001})
            watch.progress(SHORT, done // 1000, 2, "seeds", {})
            time.sleep(0.6 - done / 2000)
        watch.running[LONG.id].printed_s -= 60
        watch.progress(LONG, 1300, 3400, "tokens", {"loss": 2.3412})
        watch.remark(SHORT, "a remark")
        watch.bars.refresh()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())


def test_stages_at_the_same_time_have_a_line_each_at_80_columns():
    shown = show(80, terminal=True)
    assert "[1/70] score.sentiment.distill-2 " in shown
    assert "[2/70] score.ner.tune " in shown
    assert "1.3 k/3.4 k" in shown
    assert max(len(line) for line in re.split(r"[\n\r]", shown) if "━" in line) <= 80


def test_lines_of_stages_at_the_same_time_name_the_stage():
    lines = [re.sub(r"[\d.]+ k tokens/s", "R", line) for line in show(80, terminal=False).splitlines()]
    assert lines[:3] == [
        "[2/70] score.ner.tune: resuming from its last checkpoint",
        "[1/70] score.sentiment.distill-2: 1.3 k/3.4 k tokens  R  loss 2.34",
        "[2/70] score.ner.tune: a remark",
    ]


@pytest.mark.parametrize("recipe", ["gurgurov2025", "compact2026@taught", "bistil2023"])
def test_plan_and_runners_reach_a_worker(recipe):
    planned = plan_chosen_run("mt", recipe, "mini", ScaleOptions()).plan.plan
    assert pickle.loads(pickle.dumps(planned)).keys == planned.keys
    assert pickle.loads(pickle.dumps(dict(RUNNERS))).keys() == RUNNERS.keys()
    timed = {stage.id.partition(".")[0] for stage in planned if stage.alone}
    assert timed == {"latency", "package"}
