"""Run a file in a process of its own under the limits of a small device: cold start, peak memory, latency.

One core and 512 MiB: in a container of the image ``harness:cpu`` where an engine runs and has it (`make
image`); else in a control group where one can be made; else by a limit on the process's own data
(``RLIMIT_DATA``, which does not count mapped files). The numbers name the limit. The file is in the page
cache: the process is cold, not the disk.

Run as a program, this file is the process that is measured; it imports onnxruntime and numpy alone.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CGROUP = Path("/sys/fs/cgroup")
MEMORY_BYTES = 512 * 2**20
IMAGE = "harness:cpu"
ROUNDS = 30


def measure_file(file: str, length: int, vocabulary: int) -> dict[str, float]:
    """Open a file, run it once and then again, and return milliseconds and bytes."""
    start = time.perf_counter()
    import numpy as np  # noqa: PLC0415  its time is part of what is measured
    import onnxruntime  # noqa: PLC0415

    imported = time.perf_counter()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    opened = time.perf_counter()
    ids = np.random.default_rng(0).integers(5, vocabulary, (1, length), dtype=np.int64)
    every = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    feed = {one.name: every[one.name] for one in session.get_inputs()}
    session.run(None, feed)
    answered = time.perf_counter()
    taken = []
    for _ in range(ROUNDS):
        before = time.perf_counter()
        session.run(None, feed)
        taken.append(time.perf_counter() - before)
    return {
        "import_ms": 1e3 * (imported - start),
        "open_ms": 1e3 * (opened - imported),
        "first_ms": 1e3 * (answered - opened),
        "cold_ms": 1e3 * (answered - start),
        "p50_ms": 1e3 * sorted(taken)[ROUNDS // 2],
        "peak_bytes": read_peak_bytes(),
    }


def read_peak_bytes() -> int:
    """Return the most memory this program used; ``ru_maxrss`` would count the process it was forked from."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def measure_under_limits(file: Path, length: int, vocabulary: int) -> dict[str, object]:
    """Run this file as a program under the limits, and return its measurements, or why it failed."""
    asked = [str(file.resolve()), str(length), str(vocabulary)]
    core = min(os.sched_getaffinity(0))
    client = connect_to_engine()
    limit, code, output, errors = (
        _run_in_container(client, asked, core) if client is not None else _run_in_process(asked, core)
    )
    limits: dict[str, object] = {"limits": f"one core, {MEMORY_BYTES // 2**20} MiB by {limit}"}
    if code == 0:
        measurements: dict[str, object] = json.loads(output)
        return limits | measurements
    reason = "killed" if code in {-9, 137} else (errors.strip().splitlines() or ["no message"])[-1][:300]
    return limits | {"ended": f"exit {code}: {reason}"}


def connect_to_engine() -> Any:
    """Return a client of a running engine that has the image; None where there is none."""
    try:
        import docker  # noqa: PLC0415  the measured process does without

        client = docker.from_env(timeout=600)
        client.images.get(IMAGE)
    except Exception:  # no engine, no image, no SDK: the limits are set in another way
        return None
    return client


def _run_in_container(client: Any, asked: Sequence[str], core: int) -> tuple[str, int, str, str]:
    program, file = Path(__file__).resolve(), Path(asked[0])
    container = client.containers.create(
        IMAGE,
        [str(program), *asked],
        entrypoint=["/venv/bin/python", "-I"],
        cpuset_cpus=str(core),
        mem_limit=MEMORY_BYTES,
        memswap_limit=MEMORY_BYTES,
        network_mode="none",
        volumes={str(one): {"bind": str(one), "mode": "ro"} for one in (program, file)},
    )
    try:
        container.start()
        code = int(container.wait()["StatusCode"])
        output, errors = (
            container.logs(stdout=stdout, stderr=not stdout).decode() for stdout in (True, False)
        )
    finally:
        container.remove(force=True)
    return "a container", code, output, errors


def _run_in_process(asked: Sequence[str], core: int) -> tuple[str, int, str, str]:
    group = _make_group()

    def confine() -> None:
        os.sched_setaffinity(0, {core})
        if group is None:
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        else:
            (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

    try:
        done = subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), *asked],
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=confine,
            cwd="/",
            timeout=600,
        )
    finally:
        if group is not None:
            group.rmdir()
    return "a control group" if group else "RLIMIT_DATA", done.returncode, done.stdout, done.stderr


def _make_group() -> Path | None:
    """Make a control group with the memory limit; None where that is not possible."""
    unified = (CGROUP / "cgroup.controllers").is_file()
    root, limit = (CGROUP, "memory.max") if unified else (CGROUP / "memory", "memory.limit_in_bytes")
    group = root / f"harness-edge-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        return None
    try:
        (group / limit).write_text(str(MEMORY_BYTES), encoding="ascii")
    except OSError:
        group.rmdir()
        return None
    return group


if __name__ == "__main__":
    name, tokens, ids = sys.argv[1:]
    print(json.dumps(measure_file(name, int(tokens), int(ids))))
