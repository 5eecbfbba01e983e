"""The stages, in the order in which a run goes through them.

Data
    tasks      read the labelled tasks of the language
    corpus     read, clean and split its text; drop every line that a dev or test part of what is read holds
The teacher
    pretrain   train a multilingual encoder from random weights, or
    fetch      take one from the hub or a folder
The method: each step changes the model's shape or trains it, never both
    adapt      train the teacher on, on the language's text
    shorten    keep some of its layers
    blank      take random weights in a smaller shape instead
    distill    train the student towards an earlier model
    prune      drop the least important FFN neurons
    narrow     make the hidden states narrower
    trim       keep the tokens the language uses
The proof
    random     the same shape with random weights: what the task alone can teach
    static     an embedding for each token of the teacher: what is left without context
    score      fine-tune on a task, score the test part, per seed
    linear     the same with a linear model, on TF-IDF or on static embeddings
    majority   the same with the most frequent label: what no model at all can do
    compare    what is better, what is worse, what cannot be told apart
    export     the fine-tuned model as ONNX, checked against torch, and as int8
    precisions the final student's exports in other precisions, judged by the quality gate
    latency    time the exports side by side
    report     all of it in one table, each number with where it came from
    leaderboard    the same for several recipes, or for one recipe's variants

Every kind is one module of this package with one function, ``run(context)``: it reads the folders of earlier
stages, writes its own, and leaves what is worth knowing in ``context.facts``. Stages never import each other;
they talk through files. `blueprint` strings them together, `runner` finds the module of a kind.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from harness.errors import unknown

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

VERSIONS: Mapping[str, int] = MappingProxyType(
    {
        "tasks": 3,
        "corpus": 2,
        "pretrain": 2,
        "fetch": 1,
        "adapt": 2,
        "shorten": 1,
        "blank": 1,
        "distill": 2,
        "prune": 2,
        "narrow": 2,
        "trim": 2,
        "random": 1,
        "static": 1,
        "score": 8,
        "linear": 4,
        "majority": 4,
        "compare": 3,
        "export": 2,
        "precisions": 2,
        "latency": 1,
        "report": 6,
        "leaderboard": 2,
    }
)
"""Kind → version; raise it when the kind's code changes what it writes, and old results are made anew."""


def runner(kind: str) -> Callable[[Context], None]:
    """Gives a function that imports the kind's module when it is first needed, and runs it.

    Planning and a run in which all is done import no torch.
    """
    if kind not in VERSIONS:
        raise unknown("stage kind", kind, VERSIONS)

    def run(context: Context) -> None:
        module = import_module(f"harness.stages.{kind}")
        gc.collect()
        gc.freeze()  # every training collects garbage twice: it need not look through the libraries
        module.run(context)

    return run


RUNNERS: Mapping[str, Callable[[Context], None]] = MappingProxyType({kind: runner(kind) for kind in VERSIONS})
