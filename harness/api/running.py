"""Run a recipe on a language, from corpus to report."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from harness.api.options import DEFAULT_RUNS, PlannedRun, ScaleOptions, plan_chosen_run
from harness.api.publish import MODELS, STUDENT, locate_run, publish_run
from harness.measure.environment import describe
from harness.pipeline.execute import Finished, Observer, execute
from harness.pipeline.manifest import Environment
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.process_group import ALONE, ProcessGroup
from harness.pipeline.store import Store
from harness.report.results import Results, read_results
from harness.stages import RUNNERS
from harness.stages.table import KINDS
from harness.train.trackers import check_trackers


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Attributes:
        folder: of the run.
        student: the folder of the student, which transformers loads.
        exports: by task, or by head of the student where nothing is scored, the folder of its ONNX files.
        report: the report as a web page.
        results: everything that was measured.
        missing_tasks: tasks that the data does not have, with the reason.
        digests: by stage, the digest of all its files.
    """

    folder: Path
    student: Path
    exports: Mapping[str, Path]
    report: Path
    results: Results
    missing_tasks: Mapping[str, str]
    digests: Mapping[str, str]


def reproduce(
    language: str,
    *,
    recipe: str | None = None,
    scale: str | Path = "mini",
    options: ScaleOptions = ScaleOptions(),  # noqa: B008  frozen
    runs: str | Path = DEFAULT_RUNS,
    observer: Observer | None = None,
    checkpoint_s: float | None = None,
    trackers: Sequence[str] = (),
) -> FinishedRun:
    """Run a recipe on a language; finished stages are kept, and a later call goes on where this one ended.

    Args:
        language: code, as ``mt``.
        recipe: a recipe's name, ``NAME@VARIANT``, or a YAML file; None: the scale's.
        scale: how much: mini, small, laptop, paper, or a YAML file.
        options: replace parts of the scale: data, teacher, tasks, seed.
        runs: where runs are kept.
        observer: receives the events of the run.
        checkpoint_s: seconds between checkpoints.
        trackers: that follow each training: tensorboard, mlflow, wandb, trackio.

    Raises:
        HarnessError: something does not exist, does not fit, or failed; one line that says what to do.
    """
    planned = plan_chosen_run(language, recipe, scale, options)
    return finish_run(
        planned,
        Path(runs),
        observer=observer or Observer(),
        checkpoint_s=checkpoint_s,
        trackers=check_trackers(trackers),
    )


def finish_run(
    planned: PlannedRun,
    runs: Path,
    *,
    observer: Observer,
    checkpoint_s: float | None = None,
    trackers: tuple[str, ...] = (),
    workers: int = 1,
    gpus: Sequence[str] = (),
    group: ProcessGroup = ALONE,
) -> FinishedRun:
    """Run the missing stages of a planned run, and copy report, student and exports to its folder."""
    store = Store(runs)
    plan = planned.plan
    finished = run_stages(
        plan.plan,
        store,
        planned.folder,
        observer=observer,
        checkpoint_s=checkpoint_s,
        trackers=trackers,
        workers=workers,
        gpus=gpus,
        group=group,
    )
    folder = group.share(lambda: publish_run(plan, store, locate_run(runs, planned.language, planned.name)))
    return FinishedRun(
        folder=folder,
        student=folder / STUDENT,
        exports={task: folder / MODELS / task for task in plan.exported},
        report=folder / "report.html",
        results=read_results(folder / "results.json"),
        missing_tasks=plan.missing_tasks,
        digests={name: stage.manifest.outputs_digest for name, stage in finished.items()},
    )


def run_stages(
    plan: Plan,
    store: Store,
    folder: str,
    *,
    observer: Observer,
    selected: Callable[[Stage], bool] = lambda _: True,
    checkpoint_s: float | None = None,
    trackers: tuple[str, ...] = (),
    workers: int = 1,
    gpus: Sequence[str] = (),
    group: ProcessGroup = ALONE,
) -> dict[str, Finished]:
    """Run the selected stages of a plan that are missing; return all selected stages.

    Worker processes, where there are more than one, take turns with the GPUs, which are named as in
    ``CUDA_VISIBLE_DEVICES``; without names they share what this process sees.
    """
    return execute(
        plan,
        store,
        folder,
        RUNNERS,
        observer=observer,
        environment=describe_environment,
        selected=selected,
        checkpoint_s=checkpoint_s,
        trackers=trackers,
        workers=workers,
        prepare=partial(_prepare_worker, gpus),
        group=group,
        joined=lambda stage: KINDS[stage.kind].trains,
    )


def list_untimed(plan: Plan) -> Callable[[Stage], bool]:
    """Return whether a stage of a plan measures no time and reads no stage that does."""
    untimed: set[str] = set()
    for stage in plan:
        if not stage.alone and all(one in untimed for one in stage.inputs.values() if isinstance(one, str)):
            untimed.add(stage.id)
    return lambda stage: stage.id in untimed


def make_gpu_chooser(gpus: Sequence[str]) -> Callable[[int], None] | None:
    """Return the function by which workers take turns with GPUs; None where there are none."""
    return partial(_take_gpu, gpus) if gpus else None


def _prepare_worker(gpus: Sequence[str], worker: int) -> None:
    """Show a worker process its GPU, if there are any, and load the libraries that most stages need."""
    if gpus:
        _take_gpu(gpus, worker)
    import_module("harness.stages.score")


def _take_gpu(gpus: Sequence[str], worker: int) -> None:
    """Show a worker process one GPU; called before CUDA is initialised."""
    os.environ["CUDA_VISIBLE_DEVICES"] = gpus[worker % len(gpus)]


def describe_environment() -> Environment:
    """Return a manifest's record of the machine and the code; loads torch."""
    import torch  # noqa: PLC0415  a run in which all is done needs neither

    from harness import ops  # noqa: PLC0415

    described = describe()
    versions = described.get("versions")
    commit, dirty = described.get("commit"), described.get("dirty")
    return Environment(
        commit=commit if isinstance(commit, str) else None,
        dirty=dirty if isinstance(dirty, bool) else None,
        versions={name: str(one) for name, one in versions.items() if one}
        if isinstance(versions, dict)
        else {},
        device="cuda" if torch.cuda.is_available() else "cpu",
        threads=torch.get_num_threads(),
        ops=ops.implementation(),
    )
