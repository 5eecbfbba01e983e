"""Run calls as tasks of Ray: on a cluster that ``RAY_ADDRESS`` names, or else on this machine."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

from harness.errors import HarnessError, first_line
from harness.pipeline.mirror import VARIABLE as MIRROR
from harness.pipeline.workers import Call, Message, answer

_PASSED = (MIRROR, "HF_", "OMP_WAIT_POLICY", "THP_", "TOKENIZERS_", "TRANSFORMERS_")
"""Beginnings of the variables that tasks on other machines get too; Ray itself sets the number of threads."""
_CHECK_S, _TRIES = 5.0, 4
"""Seconds between looks at the head node, and looks without an answer after which it is gone."""


def run_on_ray(
    call: Call, jobs: Mapping[str, Any], *, cpus: int | None, gpus: int, retries: int
) -> Iterator[Message]:
    """Run a call for each job as a task, and yield its result or error when it ends.

    Args:
        call: what each task runs; the package must be installed on every machine of the cluster.
        jobs: its argument, by name.
        cpus: processors of a task; None: all of the largest machine, so that no other task runs there.
        gpus: GPUs of a task.
        retries: how often a task begins again after its worker or its machine was lost.

    Raises:
        HarnessError: Ray cannot be started, or not be reached, or its head node is gone.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray  # noqa: PLC0415 - an extra, which only this executor needs

    variables = {name: value for name, value in os.environ.items() if name.startswith(_PASSED)}
    try:
        if not ray.is_initialized():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, runtime_env={"env_vars": variables})
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise HarnessError(
            f"ray: expected a cluster at RAY_ADDRESS, or to start one here; got '{first_line(error)}'; "
            "correct the address, or unset it"
        ) from error
    cpus = cpus or int(max(node["Resources"].get("CPU", 1) for node in ray.nodes()))
    task = ray.remote(_run).options(num_cpus=cpus, num_gpus=gpus, max_retries=retries)
    shared = ray.put(call)
    names = {task.remote(shared, argument): name for name, argument in jobs.items()}
    while names:
        ended, _ = ray.wait(list(names), timeout=_CHECK_S)
        if not ended:
            _check_head(ray.get_runtime_context().gcs_address)
            continue
        done = ended[0]
        name = names.pop(done)
        try:
            kind, content = ray.get(done)
        except ray.exceptions.RayError as error:
            content = HarnessError(
                f"ray: expected a worker that ends its task; got {first_line(error)}; run the same "
                "command again to resume"
            )
            kind = "error"
        yield Message(name, kind, content)


def _check_head(address: str) -> None:
    """Check that the head node answers: Ray itself would wait a minute for it, and abort the process."""
    host, _, port = address.rpartition(":")
    for left in reversed(range(_TRIES)):
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CHECK_S).close()
            return
        except OSError as error:
            if left == 0:
                raise HarnessError(
                    f"ray: expected the head node of the cluster at {address}; got '{first_line(error)}'; "
                    "start the cluster again, and run the same command again to resume"
                ) from error
            time.sleep(_CHECK_S)


def _run(call: Call, argument: Any) -> tuple[str, Any]:
    return answer(call, argument, lambda _: None)
