"""Run a grid on a Ray cluster of three nodes, remove one of them, and kill workers."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from benchmarks.common.paths import ROOT
from benchmarks.torture.grids import GridRun, run_locally, write_grid
from benchmarks.torture.tally import Tally

KILLS, KILLS_A_RUN, NODES = 20, 5, 3
_FAULT = "SIGKILL of a worker of Ray, after one of three nodes was removed"
_TASK = "ray::_run"
"""The name of the process that runs a task of the executor."""


def kill_on_ray(share: float) -> list[Tally]:
    """Kill workers of a grid at random; its results must equal those of local workers, byte for byte."""
    if find_spec("ray") is None:
        return [Tally(f"{_FAULT} (not tried: ray is not installed)")]
    tally, chance = Tally(_FAULT), random.Random(13)
    with tempfile.TemporaryDirectory() as scratch:
        grid = write_grid(Path(scratch))
        began_s = time.monotonic()
        whole = run_locally(grid, Path(scratch) / "whole")
        length_s = time.monotonic() - began_s
        asked = max(1, round(share * KILLS))
        while tally.tries < asked:
            with _start_cluster() as cluster:
                torn = GridRun(grid, Path(scratch) / f"torn-{tally.tries}", "ray")
                try:
                    kills = _disturb(torn, cluster, chance, min(KILLS_A_RUN, asked - tally.tries), length_s)
                    problem = torn.finish()
                finally:
                    torn.process.kill()
            problem = problem or (None if torn.results == whole.results else "other results than locally")
            for _ in range(kills):
                tally.add(problem)
            if kills == 0:
                tally.add(problem or "the grid ended before a worker was killed")
    return [tally]


@contextmanager
def _start_cluster() -> Iterator[Any]:
    """Start a cluster on this machine, which drivers join by ``RAY_ADDRESS``."""
    variables = {
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
    }
    with patch.dict(os.environ, variables):
        from ray.cluster_utils import Cluster  # noqa: PLC0415 - an extra

        cluster = Cluster()
        try:
            for _ in range(NODES):
                cluster.add_node(num_cpus=1, include_dashboard=False)
            os.environ["RAY_ADDRESS"] = cluster.address
            yield cluster
        finally:
            cluster.shutdown()


def _disturb(grid: GridRun, cluster: Any, chance: random.Random, kills: int, length_s: float) -> int:
    """Remove a node while a cell runs, then kill workers at random; return how many were killed."""
    done, removed = 0, False
    while done < kills and grid.process.poll() is None:
        if not _list_workers(cluster):
            time.sleep(0.2)
            continue
        time.sleep(chance.uniform(0.0, length_s / 4))
        if not removed:
            cluster.remove_node(sorted(cluster.worker_nodes, key=id)[0], allow_graceful=False)
            removed = True
            continue
        for worker in chance.sample(workers, 1) if (workers := _list_workers(cluster)) else []:
            worker.kill()
            done += 1
    return done


def _list_workers(cluster: Any) -> list[psutil.Process]:
    """Return the processes of the cluster that run a task."""
    workers = []
    for node in cluster.list_all_nodes():
        for raylet in node.all_processes.get("raylet", ()):
            try:
                children = psutil.Process(raylet.process.pid).children(recursive=True)
                workers += [one for one in children if one.cmdline()[:1] == [_TASK]]
            except psutil.NoSuchProcess:
                continue
    return workers
