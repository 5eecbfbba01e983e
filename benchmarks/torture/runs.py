"""Kill runs, damage their checkpoints and stages, fill their disk, and run several at once."""

# ruff: noqa: ARG002 - an observer receives more than it needs here
from __future__ import annotations

import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks.torture.tally import Tally, fork, run, wait
from harness.config.load import load_recipe, load_scale
from harness.pipeline import Environment, Observer, Stage, execute, verify
from harness.pipeline.checkpoints import NAME as CHECKPOINT_MANIFEST
from harness.pipeline.plan import Plan
from harness.pipeline.store import Store
from harness.plans.run import plan_run
from harness.stages import RUNNERS

HERE = Path(__file__).parent
KILLS, DISKS_KB = 50, (64, 512, 1500, 4000)
_KILLED = -signal.SIGKILL
_LEFT_OUT = frozenset({"export", "package", "precisions", "latency", "report"})
"""Kinds of stages that are left out: they take their time, and their outputs hold times."""


def make_plan(language: str = "mt", seed: int = 1) -> Plan:
    """Return the stages of the small run, without those that only take time."""
    scale = load_scale(HERE / "tiny.yaml").model_copy(update={"seed": seed})
    planned = plan_run(language, load_recipe(HERE / "recipe.yaml"), scale)
    return Plan([one for one in planned.plan if one.kind not in _LEFT_OUT])


@dataclass(frozen=True)
class Runs:
    """A runs folder and the plan that is run in it."""

    root: Path
    plan: Plan

    def run(self, observer: Observer | None = None, checkpoint_s: float = 0.4) -> None:
        """Run the stages that are missing, in this process."""
        torch.set_num_threads(1)
        execute(
            self.plan,
            Store(self.root),
            "mt/tiny",
            RUNNERS,
            observer=observer or Observer(),
            environment=Environment,
            checkpoint_s=checkpoint_s,
        )

    def find(self, stage: Stage) -> Path | None:
        """Return the folder of a finished stage."""
        return Store(self.root).find(self.plan.keys[stage.id])

    def find_difference(self, other: Runs) -> str | None:
        """Return how finished stages differ from those of another folder; None where none does."""
        damage = verify(self.root)
        if damage:
            return f"{damage[0].path.name}: {damage[0].problem}"
        for stage in self.plan:
            ours, theirs = self.find(stage), other.find(stage)
            if ours is None or theirs is None:
                return f"{stage.id} is missing"
            for name in sorted({*_list_files(ours), *_list_files(theirs)}):
                if not _are_equal(ours / name, theirs / name):
                    return f"{stage.id}: {name} differs from the undisturbed run"
        return None


class Interrupter(Observer):
    """Ends a run at a step of a stage, as a kill would; notes which stages were made."""

    def __init__(self, kind: str = "", at: int = 0) -> None:
        self.kind, self.at, self.steps = kind, at, 0
        self.made: list[str] = []

    def progress(self, stage: Stage, done: int, total: int, unit: str, values: dict[str, Any]) -> None:
        """Count a step of the stage that is to be cut."""
        self.steps += stage.kind == self.kind
        if self.at and self.steps == self.at:
            raise KeyboardInterrupt

    def stage_finished(self, stage: Stage, folder: Path, written: object) -> None:
        """Note a stage that was made."""
        self.made.append(stage.id)


def _list_files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


def _are_equal(one: Path, other: Path) -> bool:
    if not (one.is_file() and other.is_file()):
        return False
    if one.suffix != ".safetensors":
        return one.read_bytes() == other.read_bytes()
    left, right = load_file(one), load_file(other)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@contextmanager
def make_whole_run() -> Iterator[tuple[Path, Runs]]:
    """Hand out a folder to work in, and an undisturbed run in it."""
    with tempfile.TemporaryDirectory() as scratch:
        whole = Runs(Path(scratch) / "whole", make_plan())
        whole.run()
        yield Path(scratch), whole


def _count(share: float, tries: int) -> int:
    return max(1, round(share * tries))


def kill_runs(share: float) -> list[Tally]:
    """Kill a run again and again, at random; in the end it must equal an undisturbed run."""
    tally, chance, kills = Tally("SIGKILL at a random moment of a run"), random.Random(11), 0
    with make_whole_run() as (scratch, whole):
        began_s = time.monotonic()
        Runs(scratch / "timed", whole.plan).run()
        length_s = time.monotonic() - began_s
        number = 0
        while kills < _count(share, KILLS):
            number += 1
            runs, before = Runs(scratch / f"runs-{number}", whole.plan), kills
            while True:
                child = fork(runs.run)
                time.sleep(chance.uniform(0.05, 0.6) * length_s)
                _kill(child)
                code = wait(child)
                kills += code == _KILLED
                if code != _KILLED or kills - before >= 12:
                    break
            code, line = run(runs.run)
            problem = line if code else runs.find_difference(whole)
            for _ in range(kills - before):
                tally.add(problem)
            shutil.rmtree(runs.root)
    return [tally]


def _kill(child: int) -> None:
    subprocess.run(["kill", "-KILL", str(child)], check=False, capture_output=True)


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "file").touch()


def _replace_by_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _replace_by_pipe(path: Path) -> None:
    path.unlink()
    subprocess.run(["mkfifo", str(path)], check=True)


def _replace_by_link(path: Path) -> None:
    other = path.parents[4] / f"moved-{random.random()}"
    shutil.move(path, other)
    path.symlink_to(other)


DAMAGES: Mapping[str, Callable[[Path], object]] = MappingProxyType(
    {
        "flip": flip,
        "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        "empty": lambda path: path.write_bytes(b""),
        "gone": lambda path: path.unlink(),
    }
)
ODD: Mapping[str, Callable[[Path], object]] = MappingProxyType(
    {
        "folder": _replace_by_folder,
        "loop": _replace_by_loop,
        "pipe": _replace_by_pipe,
        "link": _replace_by_link,
        "append": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
        "added": lambda path: path.with_name("special_tokens_map.json").write_text("{}"),
    }
)


ALL: Mapping[str, Callable[[Path], object]] = MappingProxyType({**DAMAGES, **ODD})


def damage_checkpoints(share: float) -> list[Tally]:
    """Damage each file of the newest checkpoint in each way; the training must end like another."""
    tally = Tally("damaged checkpoint: each file flipped, cut, emptied, removed")
    with make_whole_run() as (scratch, whole):
        cut = Runs(scratch / "cut", whole.plan)
        with suppress(KeyboardInterrupt):
            cut.run(Interrupter("distill", 12), checkpoint_s=0.0)
        (folder,) = cut.root.glob("*/*/.partial-*/checkpoints")
        newest = max(folder.iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
        names = sorted(path.name for path in newest.iterdir())
        assert CHECKPOINT_MANIFEST in names
        cases = [(name, damage) for name in names for damage in DAMAGES]
        for name, damage in random.Random(3).sample(cases, _count(share, len(cases))):
            runs = Runs(scratch / "runs", whole.plan)
            shutil.copytree(cut.root, runs.root)
            DAMAGES[damage](runs.root / newest.relative_to(cut.root) / name)
            code, line = run(runs.run)
            problem = line if code else runs.find_difference(whole)
            tally.add(problem and f"{name}, {damage}: {problem}")
            shutil.rmtree(runs.root)
    return [tally]


def damage_stores(share: float) -> list[Tally]:
    """Damage one file of a finished run in each way; exactly its stage must be made again, and equal."""
    tally = Tally("damaged stage: each kind of file in ten ways")
    with make_whole_run() as (scratch, whole):
        kinds: dict[str, Path] = {}
        for folder in Store(whole.root).list_stages():
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    kinds.setdefault(path.name, path)
        cases = [(path, damage) for path in kinds.values() for damage in ALL]
        for path, damage in random.Random(5).sample(cases, _count(share, len(cases))):
            tally.add(_damage_stage(whole, scratch / "runs", path, damage))
    return [tally]


def _damage_stage(whole: Runs, root: Path, path: Path, damage: str) -> str | None:
    runs = Runs(root, whole.plan)
    shutil.copytree(whole.root, root, symlinks=True)
    damaged = root / path.relative_to(whole.root)
    stage = damaged.relative_to(root).parts[2]
    empty = path.stat().st_size == 0
    ALL[damage](damaged)
    where = f"{path.name}, {damage}"
    try:
        if not verify(root) and not (empty and damage in ("empty", "cut", "flip")):
            return f"{where}: verify found nothing"
        watch = Interrupter()
        code, line = run(lambda: runs.run(watch))
        if code:
            return f"{where}: {line}"
        if damage == "added" and watch.made:
            return f"{where}: {', '.join(watch.made)} were made again"
        if any(not stage.endswith(runs.plan.keys[made]) for made in watch.made):
            return f"{where}: {', '.join(watch.made)} were made again"
        problem = runs.find_difference(whole)
        return problem and f"{where}: {problem}"
    finally:
        shutil.rmtree(root)


def fill_disks(share: float) -> list[Tally]:
    """Run on disks that are too small; one line, and after more room the run ends like another."""
    tally = Tally("full disk, at four sizes")
    with make_whole_run() as (scratch, whole):
        for size in DISKS_KB[: _count(share, len(DISKS_KB))]:
            disk = scratch / "disk"
            disk.mkdir(exist_ok=True)
            if not _mount(disk, size):
                return [Tally("full disk (not tried: no right to mount a small disk)")]
            try:
                runs = Runs(disk / "runs", whole.plan)
                code, line = run(runs.run)
                fits, said = code == 0, code == 3 and "is full; free some space" in line
                problem = None if fits or said else f"{code}: {line}"
                _mount(disk, 500_000, "remount,")
                code, line = run(runs.run)
                problem = problem or (line if code else runs.find_difference(whole))
                tally.add(problem and f"{size} kB: {problem}")
            finally:
                subprocess.run(["umount", str(disk)], check=True)
    return [tally]


def _mount(folder: Path, size_kb: int, more: str = "") -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"{more}size={size_kb}k", "tmpfs", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def run_together(share: float) -> list[Tally]:
    """Run four plans that share stages on one store at once; each stage is made once."""
    del share
    tally = Tally("four runs at once on one store")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "runs"
        plans = [make_plan("mt"), make_plan("mt"), make_plan("sk"), make_plan("sk")]
        children = [fork(Runs(root, plan).run) for plan in plans]
        codes = dict.fromkeys(children, 0)
        threads = [threading.Thread(target=_note_end, args=(child, codes)) for child in children]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expected = {key for plan in plans for key in plan.keys.values()}
        made = [folder.name[-12:] for folder in Store(root).list_stages()]
        problem = None if sorted(made) == sorted(expected) and not verify(root) else f"{len(made)} stages"
        for code in codes.values():
            tally.add(problem or (None if code == 0 else f"exit {code}"))
    return [tally]


def _note_end(child: int, codes: dict[int, int]) -> None:
    codes[child] = wait(child)
