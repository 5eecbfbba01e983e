"""Train in several processes what a test has written down: ``run_processes.py FOLDER``.

The libraries are imported once; then each phase forks its processes, connects them as torchrun's, and trains
one case after the other. ``FOLDER/phases.pickle`` holds the phases, and each process leaves a file a case.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
from pathlib import Path

import torch
from transformers import TrainerCallback

from harness.data.examples import gold_labels
from harness.measure.scores import score
from harness.models.loading.checkpoint import load_checkpoint
from harness.train.distributed import join_process_group
from harness.train.finetuning.finetune import finetune
from harness.train.language_model.training import train


class Watch(TrainerCallback):
    """Log every step, and kill this process after one of them."""

    def __init__(self, last=None):
        self.last = last

    def on_train_begin(self, _args, state, _control, **_):
        state.logging_steps = 1

    def on_step_end(self, _args, state, _control, **_):
        if state.global_step == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def run_case(case, folder, group):
    """Train as a case says; return the figures and the weights."""
    if "data" in case:
        data, gold = case["data"], gold_labels(case["data"], "dev")
        tuned = finetune(
            case["model"], load_checkpoint(case["model"]).tokenizer, data, protocol=case["protocol"], seed=1,
            score=lambda labels: score(data.task.metrics[0], gold, labels), folder=folder / "scratch",
            distillation=case.get("distillation"), group=group,
        )  # fmt: skip
        return {"dev": tuned.dev_scores, "labels": tuned.dev_predictions}, tuned.model.state_dict()
    model, tokenizer = load_checkpoint(case["model"])
    teacher = load_checkpoint(case["teacher"]).model if "teacher" in case else None
    rank, last = case.get("killed", (None, None))
    facts = train(
        model, tokenizer, case["packed"], objective=case["objective"], teacher=teacher, budget=case["budget"],
        folder=folder / case["name"], progress=lambda *_: None, group=group,
        callbacks=[Watch(last if group.rank == rank else None)],
    )  # fmt: skip
    return facts, model.state_dict()


def run_rank(rank, phase, number, port, folder):
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(phase["size"]),
        "MASTER_ADDR": "localhost", "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    with join_process_group() as group:
        for case in phase["cases"]:
            torch.save(run_case(case, folder, group), folder / f"{number}-{case['name']}-{rank}.pt")


def fork(*given):
    child = os.fork()
    if child == 0:
        try:
            run_rank(*given)
        except BaseException as error:
            sys.stdout.write(f"{type(error).__name__}: {error}\n")
            sys.stdout.flush()
            os._exit(1)
        os._exit(0)
    return child


def main(folder):
    for number, phase in enumerate(pickle.loads((folder / "phases.pickle").read_bytes())):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        children = [fork(rank, phase, number, port, folder) for rank in range(phase["size"])]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        sys.stdout.write(f"phase {number}: {codes}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
