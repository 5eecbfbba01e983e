"""Run a grid and a corpus as Slurm's job arrays on three nodes of this machine; lose a node and jobs.

The daemons are those of Debian's packages `slurmctld`, `slurmd` and `munge`, or any others on the path. They
are started in a scratch folder, without control groups or accounting, and end with the try.
"""

from __future__ import annotations

import getpass
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import psutil

from benchmarks.common.paths import ROOT
from benchmarks.torture.grids import GridRun, run_locally, write_grid
from benchmarks.torture.tally import Tally

KILLS, NODES = 6, 3
_WHOLE = "grid as job arrays of Slurm"
_CORPUS = "corpus as job arrays of Slurm"
_TORN = "SIGKILL of a job of Slurm, after one of three nodes was lost"
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo")
_START_S, _GRID_S = 30.0, 3600.0
_SETTINGS = """ClusterName=torture
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmctldPidFile={folder}/slurmctld.pid
StateSaveLocation={folder}/state
SlurmdPidFile={folder}/%n.pid
SlurmdSpoolDir={folder}/%n
SlurmdParameters=config_overrides
SlurmdTimeout=10
KillWait=5
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def run_on_slurm(share: float) -> list[Tally]:
    """Run a grid twice through Slurm; its results must equal those of local workers, byte for byte."""
    if missing := [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]:
        return [Tally(f"{_WHOLE} (not tried: {', '.join(missing)} not installed)")]
    undisturbed, disturbed = Tally(_WHOLE), Tally(_TORN)
    with tempfile.TemporaryDirectory() as scratch:
        grid = write_grid(Path(scratch))
        whole = run_locally(grid, Path(scratch) / "whole")
        with _start_cluster(Path(scratch) / "cluster") as cluster:
            one = GridRun(grid, Path(scratch) / "one", "slurm")
            undisturbed.add(_finish(one, cluster, whole.results))
            corpora = _make_corpora(Path(scratch), cluster)
            torn = GridRun(grid, Path(scratch) / "torn", "slurm")
            kills = _disturb(torn, cluster, random.Random(14), max(1, round(share * KILLS)))
            problem = _finish(torn, cluster, whole.results)
        for _ in range(kills):
            disturbed.add(problem)
        if kills == 0:
            disturbed.add(problem or "the grid ended before a job was killed")
    return [undisturbed, disturbed, corpora]


def _make_corpora(scratch: Path, cluster: _Cluster) -> Tally:
    """Make a corpus in processes of this machine and through Slurm; the files must be equal."""
    if find_spec("datatrove") is None:
        return Tally(f"{_CORPUS} (not tried: datatrove is not installed)")
    _write_documents(scratch / "source")
    command = [sys.executable, "-m", "harness", "corpus", str(scratch / "source"), "--lang", "mt,sw"]
    command += ["--workers", "2", "--out"]
    slurm = ("--executor", "slurm", "--partition", "all", "--time", "1:00:00")
    for folder, options in (("local", ()), ("slurm", slurm)):
        subprocess.run([*command, str(scratch / folder), *options], capture_output=True, check=True)
    _wait_for_jobs(cluster)
    written = [
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.*")}
        for folder in (scratch / "local" / "corpus", scratch / "slurm" / "corpus")
    ]
    tally = Tally(_CORPUS)
    tally.add(None if written[0] == written[1] else "other files than locally")
    return tally


def _write_documents(folder: Path) -> None:
    """Write documents of two languages in HPLT's layout, three files of each; a tenth are in two files."""
    chance = random.Random(15)
    for language in ("mlt_Latn", "swh_Latn"):
        (folder / language).mkdir(parents=True)
        words = ["".join(chance.choices("abdegiklmnorstuw", k=6)) for _ in range(2000)]
        lines = [
            json.dumps({"text": " ".join(chance.choices(words, k=100)), "lang": [language], "prob": [1.0]})
            for _ in range(1000)
        ]
        for number in range(3):
            part = lines[number * 300 : number * 300 + 330]
            (folder / language / f"{number}.jsonl").write_text("\n".join(part), encoding="utf-8")


class _Cluster:
    """Daemons of Slurm that were started in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.settings = folder, folder / "slurm.conf"
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a daemon in the foreground, with a log of its name."""
        with (self.folder / f"{name}.log").open("ab") as log:
            program = shutil.which(command[0], path=_PATH) or command[0]
            return subprocess.Popen([program, *command[1:]], stdout=log, stderr=log)

    def ask(self, *command: str) -> list[str]:
        """Return the lines that a command of Slurm prints."""
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.split("\n")[:-1]

    def wait_until_idle(self) -> None:
        """Wait for all nodes to be ready; raise ValueError with the logs where they are not soon."""
        end_s = time.monotonic() + _START_S
        while self.ask("sinfo", "--noheader", "--format=%T %D") != [f"idle {NODES}"]:
            if time.monotonic() > end_s:
                logs = [path.read_text(errors="replace")[-500:] for path in sorted(self.folder.glob("*.log"))]
                raise ValueError("\n".join(["Slurm did not start:", *logs]))
            time.sleep(0.5)

    def list_jobs(self) -> Mapping[str, list[psutil.Process]]:
        """Return the processes of jobs that run here, by node."""
        jobs: dict[str, list[psutil.Process]] = {}
        for process in psutil.process_iter():
            try:
                variables = process.environ()
                if variables.get("SLURM_CONF") == str(self.settings) and "SLURM_ARRAY_TASK_ID" in variables:
                    jobs.setdefault(variables.get("SLURMD_NODENAME", ""), []).append(process)
            except psutil.Error:
                continue
        return jobs

    def end_jobs(self) -> None:
        """Kill all jobs."""
        for node, jobs in self.list_jobs().items():
            self.lose_node(node, jobs)

    def lose_node(self, node: str, jobs: Sequence[psutil.Process]) -> None:
        """Kill the daemon of a node, and all of the jobs that it ran."""
        self.nodes[node].kill()
        self.nodes[node].wait()
        for process in jobs:
            _kill(process, with_parent=True)


def _kill(process: psutil.Process, *, with_parent: bool = False) -> bool:
    """Kill a process of a job; return whether it was there."""
    try:
        parent = process.parent()
        if with_parent and parent is not None and parent.name().startswith("slurmstepd"):
            parent.kill()
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


@contextmanager
def _start_cluster(folder: Path) -> Iterator[_Cluster]:
    """Start the daemons of a cluster of three nodes; end them, and all jobs, with the block."""
    folder.mkdir()
    for parent in (folder.parent, folder):
        parent.chmod(0o755)  # munged refuses a socket that others cannot reach
    cluster = _Cluster(folder)
    _write_settings(folder)
    with ExitStack() as stack:
        paths = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"
        stack.enter_context(
            patch.dict(os.environ, {"SLURM_CONF": str(cluster.settings), "PYTHONPATH": paths})
        )
        places = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
        files = [f"--{option}={folder}/munge.{end}" for option, end in places.items()]
        stack.callback(_end, cluster.start("munged", "munged", "--foreground", *files))
        stack.callback(_end, cluster.start("slurmctld", "slurmctld", "-D", "-c"))
        for node in range(NODES):
            name = f"node{node}"
            cluster.nodes[name] = cluster.start(name, "slurmd", "-D", "-N", name)
            stack.callback(_end, cluster.nodes[name])
        stack.callback(cluster.end_jobs)
        cluster.wait_until_idle()
        yield cluster


def _write_settings(folder: Path) -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(NODES + 1)]
        ports = [one.getsockname()[1] for one in sockets]
    host = socket.gethostname().split(".")[0]
    nodes = [
        f"NodeName=node{node} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[node + 1]} "
        "CPUs=1 RealMemory=8000"
        for node in range(NODES)
    ]
    for name in ("state", *(f"node{node}" for node in range(NODES))):
        (folder / name).mkdir()
    text = _SETTINGS.format(
        host=host, ports=ports, user=getpass.getuser(), folder=folder, nodes="\n".join(nodes)
    )
    (folder / "slurm.conf").write_text(text, encoding="utf-8")
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(os.urandom(128))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _disturb(grid: GridRun, cluster: _Cluster, chance: random.Random, kills: int) -> int:
    """Lose a node while a cell runs there, then kill jobs at random; return how many were killed."""
    grid.finish()
    done, lost = 0, False
    while done < kills and cluster.ask("squeue", "--noheader"):
        time.sleep(chance.uniform(0.0, 10.0))
        jobs = cluster.list_jobs()
        if not jobs:
            continue
        node = chance.choice(sorted(jobs))
        if lost:
            done += sum([_kill(process) for process in jobs[node]]) > 0
        else:
            cluster.lose_node(node, jobs[node])
            lost = True
    return done


def _finish(grid: GridRun, cluster: _Cluster, expected: bytes) -> str | None:
    """Wait until no job is left, submit again, once, what is missing; return how the results differ."""
    problem = grid.finish()
    _wait_for_jobs(cluster)
    if problem is None and grid.results != expected:
        grid.start()
        problem = grid.finish()
        _wait_for_jobs(cluster)
    if problem is None and grid.results != expected:
        problem = "other results than locally" if grid.results else "no results"
    return problem


def _wait_for_jobs(cluster: _Cluster) -> None:
    end_s = time.monotonic() + _GRID_S
    while time.monotonic() < end_s and cluster.ask("squeue", "--noheader"):
        time.sleep(1.0)
