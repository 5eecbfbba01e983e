"""The threads of this process's computations: how many, and whether they sleep while they wait.

OpenMP's threads spin while they wait for each other. Where other processes want the same processors, a thread
spins for one that does not run, and two threads can be several times as slow as one; asleep, they share.
OpenMP reads its variables when torch is loaded, so that both are chosen before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cache

from harness.limits import Limits

_NUMBER, _WAITING, _SPINS = "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
_SPARE = 0.5
"""Processors that others may take before threads sleep while they wait."""


@dataclass(frozen=True)
class ThreadChoice:
    """The threads of a process.

    Attributes:
        number: threads of a computation; None leaves it to torch, which takes all processors.
        passive: whether threads sleep while they wait.
        reason: why they do or do not.
        warning: what is wrong with the number that was asked for; empty if nothing is.
    """

    number: int | None
    passive: bool
    reason: str
    warning: str = ""


def choose_threads(
    asked: int | None,
    limits: Limits | None = None,
    variables: Mapping[str, str] = os.environ,
    *,
    processes: int = 1,
) -> ThreadChoice:
    """Choose the threads by the processors that this process may use and by how busy they are.

    Args:
        asked: the number that the user asked for; None takes OpenMP's variable, or else as many as there are
            processors, or whole processors in the control groups' quota.
        limits: of this process.
        variables: the environment.
        processes: that compute at the same time and share the processors.
    """
    limits = limits or Limits()
    processors, quota, allowed = limits.count_processors(), limits.read_cpu_quota(), count_allowed(limits)
    asked = asked or read_given(variables)
    share = max(1, allowed // processes)
    number = asked if asked is not None else share if share < processors else None
    warning = ""
    if number is not None and number * processes > max(allowed, processes):
        what = "processors that this process may use" if quota is None else "whole processors of the quota"
        got = f"{number}" if processes == 1 else f"{processes} processes of {number}"
        warning = f"expected at most {allowed} threads, the {what}; got {got}: they will wait for each other"
    passive, reason = _choose_waiting(number or share, processes, limits, variables)
    return ThreadChoice(number, passive, reason, warning)


def count_allowed(limits: Limits | None = None) -> int:
    """Count the processors that this process may use: whole ones of the quota, where there is a quota."""
    limits = limits or Limits()
    processors, quota = limits.count_processors(), limits.read_cpu_quota()
    return processors if quota is None else min(processors, max(1, int(quota)))


def read_given(variables: Mapping[str, str] = os.environ) -> int | None:
    """Return the number of threads in OpenMP's variable; None where it holds none."""
    given = variables.get(_NUMBER, "").partition(",")[0]
    return int(given) or None if given.isdecimal() else None


@cache
def read_given_first() -> int | None:
    """Return the number of OpenMP's variable as it was when the process began."""
    return read_given()


@cache
def choose_default() -> ThreadChoice:
    """Return the choice for a process whose user asks for no number, as it was when the process began."""
    return choose_threads(read_given_first())


def _choose_waiting(
    threads: int, processes: int, limits: Limits, variables: Mapping[str, str]
) -> tuple[bool, str]:
    """Return whether threads sleep while they wait, and why."""
    processors, quota = limits.count_processors(), limits.read_cpu_quota()
    for name in (_WAITING, _SPINS):
        if name in variables:
            return variables[name].lower() in {"passive", "0"}, f"{name}={variables[name]}"
    if threads == 1:
        return False, "a thread alone waits for no other"
    threads *= processes
    if threads > processors or (quota is not None and threads > quota):
        return True, "there are more threads than processors"
    others = limits.count_running() * processors / (os.cpu_count() or processors)
    busy = others + threads > processors + _SPARE
    return busy, f"{others:.1f} other tasks want {processors} processors"


def use_threads(choice: ThreadChoice, variables: MutableMapping[str, str] = os.environ) -> None:
    """Set OpenMP's variables, or torch's number where torch is loaded already."""
    if choice.number is not None:
        variables[_NUMBER] = str(choice.number)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(choice.number)
    if choice.passive and _SPINS not in variables:
        variables.setdefault(_WAITING, "passive")


def select_threads(asked: int | None, warn: Callable[[str], None], processes: int = 1) -> None:
    """Use the threads that a command's option asks for; warn where they are more than can run at once.

    Where several processes compute at the same time, each has its share of the processors.
    """
    if asked is None and processes == 1:
        return
    choice = choose_threads(asked or read_given_first(), processes=processes)
    use_threads(choice)
    if choice.warning:
        warn(f"--threads: {choice.warning}")


def describe_threads(choice: ThreadChoice, limits: Limits | None = None) -> str:
    """Return the threads in force as a line, for ``harness doctor``."""
    limits = limits or Limits()
    processors, quota = limits.count_processors(), limits.read_cpu_quota()
    of = f"{processors} processors" + ("" if quota is None else f", quota {quota:g}")
    number = "torch's default" if choice.number is None else str(choice.number)
    waiting = "asleep while they wait" if choice.passive else "spinning while they wait"
    return f"{number} of {of}; {waiting} ({choice.reason})"
