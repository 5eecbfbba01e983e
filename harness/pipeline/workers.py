"""Run calls in worker processes, one call at a time in each. Knows nothing about stages."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from harness.errors import HarnessError, UsageError

Send = Callable[[Any], None]
Call = Callable[[Any, Send], Any]
"""A call that workers run: it takes an argument, and a function that sends events to the parent."""

_PATIENCE_S = 20.0
"""What a worker may take to end after SIGTERM before it is killed."""


class WorkerLostError(HarnessError):
    """A worker ended during a call; `how` says by what."""

    how = ""


class Message(NamedTuple):
    """What a worker sent: an event of a call that goes on, its result, or the error that ended it."""

    name: str
    kind: Literal["event", "result", "error"]
    content: Any


@dataclass(frozen=True)
class _Worker:
    number: int
    process: SpawnProcess
    pipe: Connection


class Workers:
    """Processes that are started when they are needed and that end with the ``with`` block.

    Invariants: after the block no worker is left. A worker ends by itself when its parent is gone, however
    that died. Ctrl-C reaches the parent alone, which ends its workers by SIGTERM; in a worker, SIGTERM raises
    KeyboardInterrupt.
    """

    def __init__(self, number: int, call: Call, prepare: Callable[[int], None] | None = None) -> None:
        """Prepare to start workers.

        Args:
            number: the most processes at once.
            call: what each of them runs for each argument; it is pickled once for each process.
            prepare: called first in each process, with its number.
        """
        self._number, self._call, self._prepare = number, call, prepare
        self._idle: list[_Worker] = []
        self._busy: dict[str, _Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        workers = [*self._idle, *self._busy.values()]
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(_PATIENCE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()

    @property
    def has_room(self) -> bool:
        """Whether another call can be started now."""
        return len(self._busy) < self._number

    @property
    def running(self) -> tuple[str, ...]:
        """The names of the calls that are not finished."""
        return tuple(self._busy)

    def start_processes(self) -> None:
        """Start all processes that may run at once, so that they prepare themselves before a call waits."""
        while len(self._busy) + len(self._idle) < self._number:
            with _signals_held_back():
                self._idle.insert(0, self._start_worker())

    def start(self, name: str, argument: Any) -> None:
        """Hand a call to an idle worker, or to a new one."""
        with _signals_held_back():
            worker = self._busy[name] = self._idle.pop() if self._idle else self._start_worker()
        with suppress(BrokenPipeError):  # the worker has died; `wait` says so
            worker.pipe.send(argument)

    def wait(self) -> Iterator[Message]:
        """Wait until workers have sent something; yield it. A worker that died ends its call by an error."""
        names = {worker.pipe: name for name, worker in self._busy.items()}
        for pipe in connection.wait(list(names)):
            name = names[pipe]  # type: ignore[index]
            worker = self._busy[name]
            try:
                kind, content = worker.pipe.recv()
            except (EOFError, ConnectionResetError):
                del self._busy[name]
                yield Message(name, "error", self._bury(name, worker))
                continue
            if kind != "event":
                self._idle.append(self._busy.pop(name))
            yield Message(name, kind, content)

    def _start_worker(self) -> _Worker:
        taken = {worker.number for worker in (*self._busy.values(), *self._idle)}
        number = next(one for one in range(self._number) if one not in taken)
        pipe, other = get_context("spawn").Pipe()
        process = get_context("spawn").Process(
            target=_serve, args=(other, self._call, self._prepare, number), daemon=False
        )
        process.start()
        other.close()
        return _Worker(number, process, pipe)

    def _bury(self, name: str, worker: _Worker) -> HarnessError:
        """Return the error for a worker that ended during a call."""
        worker.process.join()
        worker.pipe.close()
        code = worker.process.exitcode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        advice = "free memory or take fewer --workers" if -code == signal.SIGKILL else "see what ended it"
        error = WorkerLostError(
            f"{name}: expected its worker process to finish; it {how}; {advice}, and run the same command "
            "again: finished stages and checkpoints are kept"
        )
        error.how = f"its worker {how}"
        return error


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back for the body, and for a process that is started in it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # multiprocessing's own helper: its start lets signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, call: Call, prepare: Callable[[int], None] | None, number: int) -> None:
    """Run a call for each argument that arrives, until the parent closes the pipe or is gone."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()
        if prepare is not None:
            prepare(number)
        while True:
            argument = pipe.recv()
            pipe.send(answer(call, argument, lambda event: pipe.send(("event", event))))
    except (EOFError, ConnectionError):  # the parent is gone
        return
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGTERM)  # without the traceback


def answer(call: Call, argument: Any, send: Send) -> tuple[str, Any]:
    """Run a call; return its result, or its error in a form that other processes can read."""
    try:
        return "result", call(argument, send)
    except ConnectionError:
        raise
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))
        return "error", _make_portable(error)


def _make_portable(error: Exception) -> Exception:
    """Return an error that another process can read: itself, or else one of the same exit code and text."""
    with suppress(Exception):
        pickle.loads(pickle.dumps(error))
        return error
    for kind in (UsageError, HarnessError):
        if isinstance(error, kind):
            return kind(str(error))
    return RuntimeError(f"{type(error).__name__}: {error}")


def _end_with_parent() -> None:
    """End this process when its parent is gone, also where it was killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
