"""A file run in a process of its own under the limits of a small device: cold start, peak memory, latency.

One core, and so much memory: in a container of the image ``harness:cpu`` where an engine answers and has it
(`make image`); else by a control group where one can be made; else by a limit on the process's own data
(``RLIMIT_DATA``, which does not count mapped files). Which it was is told with the numbers. The file is in
the page cache: cold is the process, not the disk.

Run as a program it is the process that is measured; it imports onnxruntime and numpy alone.
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


def measured(file: str, length: int, vocabulary: int) -> dict[str, float]:
    """Opens a file, answers once, then again and again; gives milliseconds and bytes."""
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
        "peak_bytes": peak_bytes(),
    }


def peak_bytes() -> int:
    """Gives the most memory this program held; ``ru_maxrss`` would count the process it was forked from."""
    told = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return next(1024 * int(line.split()[1]) for line in told.splitlines() if line.startswith("VmHWM:"))


def limited(file: Path, length: int, vocabulary: int) -> dict[str, object]:
    """Runs this file as a program under the limits; gives what it measured, or why it ended without."""
    asked = [str(file.resolve()), str(length), str(vocabulary)]
    core = min(os.sched_getaffinity(0))
    client = engine()
    way, code, said, problem = (
        _in_container(client, asked, core) if client is not None else _in_process(asked, core)
    )
    told: dict[str, object] = {"limits": f"one core, {MEMORY_BYTES // 2**20} MiB by {way}"}
    if code == 0:
        measurements: dict[str, object] = json.loads(said)
        return told | measurements
    reason = "killed" if code in {-9, 137} else (problem.strip().splitlines() or ["no word"])[-1][:300]
    return told | {"ended": f"exit {code}: {reason}"}


def engine() -> Any:
    """Gives a client of the engine that answers and has the image; None where there is none."""
    try:
        import docker  # noqa: PLC0415  the measured process does without

        client = docker.from_env(timeout=600)
        client.images.get(IMAGE)
    except Exception:  # no engine, no image, no SDK: the limits are set in another way
        return None
    return client


def _in_container(client: Any, asked: Sequence[str], core: int) -> tuple[str, int, str, str]:
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
        said, problem = (
            container.logs(stdout=stdout, stderr=not stdout).decode() for stdout in (True, False)
        )
    finally:
        container.remove(force=True)
    return "a container", code, said, problem


def _in_process(asked: Sequence[str], core: int) -> tuple[str, int, str, str]:
    group = _group()

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


def _group() -> Path | None:
    """Makes a control group with the memory limit; None where that cannot be."""
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
    print(json.dumps(measured(name, int(tokens), int(ids))))
