"""Processes that run one plan: errors that all raise, plans that differ, stages that all run."""

from __future__ import annotations

import threading
from queue import Queue

import pytest

from harness.errors import HarnessError, UsageError
from harness.pipeline import Environment, Observer, execute
from harness.pipeline.checkpoints import CannotResumeError
from harness.pipeline.process_group import (
    ALONE,
    AgreedError,
    ProcessGroup,
    fail_together,
    refuse_other_plans,
)


class Others(ProcessGroup):
    """A process of two or three, and what the others answer."""

    def __init__(self, rank, *others):
        self.rank, self.size, self.others = rank, len(others) + 1, others

    def gather(self, value):
        return [*self.others[: self.rank], value, *self.others[self.rank :]]


def test_a_group_of_one_communicates_with_nobody():
    assert ALONE.share(lambda: 3) == 3
    assert ALONE.gather("a") == ["a"]
    with pytest.raises(UsageError, match=r"^mine$"), fail_together(ALONE):
        raise UsageError("mine")


@pytest.mark.parametrize(
    ("rank", "others", "line", "code"),
    [
        (0, [("", 0)], "mine", 2),
        (0, [("theirs", 1)], "mine", 2),
        (1, [("theirs", 1)], "theirs", 1),
        (1, [("", 0), ("", 0)], "process 1: mine", 2),
    ],
)
def test_an_error_is_raised_by_all_processes(rank, others, line, code):
    with pytest.raises(AgreedError) as raised, fail_together(Others(rank, *others)):
        raise UsageError("mine")
    assert (str(raised.value), raised.value.exit_code) == (line, code)


def test_an_error_of_another_process_is_raised_here():
    with pytest.raises(AgreedError, match=r"^process 1: theirs$"), fail_together(Others(0, ("theirs", 1))):
        pass
    with fail_together(Others(0, ("", 0))):
        pass


def test_other_plans_are_refused():
    keys = {"adapt": "123"}
    refuse_other_plans(ALONE, keys)
    with pytest.raises(
        HarnessError,
        match=r"^processes: expected the plan of process 0 in all 3; got another in process 1; start all",
    ):
        refuse_other_plans(Others(0, "0", "1"), keys)


class Thread(ProcessGroup):
    """One of two threads in place of processes; the main one sends what it shares."""

    size = 2

    def __init__(self, rank, sent):
        self.rank, self.sent = rank, sent

    def share(self, make):
        if self.rank:
            return self.sent.get(timeout=60)
        self.sent.put(value := make())
        return value


class Reporter(Observer):
    """Knows the stages that it has seen to start, as those that print do."""

    def __init__(self, rank):
        self.rank, self.started = rank, []

    def stage_started(self, stage, folder, resuming):
        self.started.append((folder, resuming, stage.id))

    def progress(self, stage, *values):
        assert self.rank == 0, values
        assert self.started[-1][2] == stage.id


def run_in_both(runs, count):
    """Run the plan in two threads, which share the stage ``adapt``; return what each calls, and makes."""
    sent, calls, made = Queue(), {0: [], 1: []}, {}

    def run(rank):
        def counted(context):
            calls[rank].append((context.config["seed"], context.group.size))
            context.progress(0, 1, "steps", {})
            count(context)

        made[rank] = execute(
            runs.plan(), runs.store, "mt/paper-mini", {**runs.RUNNERS, "count": counted},
            observer=Reporter(rank), environment=Environment, group=Thread(rank, sent),
            joined=lambda stage: stage.id == "adapt",
        )  # fmt: skip

    other = threading.Thread(target=run, args=(1,))
    other.start()
    run(0)
    other.join()
    return calls, made


def test_all_run_a_joined_stage_and_the_main_process_the_others(runs):
    def count(context):
        context.leave_to_main()
        runs.RUNNERS["count"](context)

    calls, made = run_in_both(runs, count)
    assert calls == {0: [(3, 1), (7, 2)], 1: [(7, 2)]}
    assert made[0] == made[1]
    calls, again = run_in_both(runs, count)
    assert calls == {0: [], 1: []}, "all is done"
    assert again == {0: made[0], 1: made[0]}


def test_all_begin_a_joined_stage_again(runs):
    broken = {0, 1}

    def count(context):
        if context.group.size == 2 and context.group.rank in broken:
            broken.discard(context.group.rank)
            raise CannotResumeError("checkpoint-2")
        context.leave_to_main()
        runs.RUNNERS["count"](context)

    calls, made = run_in_both(runs, count)
    assert calls == {0: [(3, 1), (7, 2), (7, 2)], 1: [(7, 2), (7, 2)]}
    assert made[0] == made[1]
