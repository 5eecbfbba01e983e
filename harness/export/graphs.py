"""The ways to write a torch model as an ONNX graph, and the rules that each graph must keep.

Torch has two exporters, whose graphs differ in latency; two implementations of attention differ again. Each
way is a row of ``WAYS``; all write standard operators, int64 inputs, named dynamic axes and one file.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnx
import onnxruntime
import torch

from harness.errors import HarnessError
from harness.export.gelu_order import halve_gelu_last
from harness.export.shared_weights import share_transposed
from harness.tasks import TaskHead

AXES = ("batch", "sequence")
OPTIMIZED = "-optimized"
LARGEST_BYTES = 2**31 - 1
_ERRORS_ONLY = 3


@dataclass(frozen=True)
class Way:
    """One way to write a graph.

    Attributes:
        graph: the exporter, ``legacy`` (TorchScript) or ``dynamo`` (torch.export).
        attention: the implementation that is traced, ``eager`` or ``sdpa``.
        opset: version of the standard operators.
        optimized: whether onnxruntime's optimizer changes the graph (its basic level: constants folded,
            operators that repeat or do nothing removed; only standard operators come out).
    """

    graph: str
    attention: str
    opset: int
    optimized: bool = False


_WRITTEN = {
    "legacy": Way("legacy", "eager", 17),
    "legacy-sdpa": Way("legacy", "sdpa", 17),
    "dynamo": Way("dynamo", "eager", 18),
    "dynamo-sdpa": Way("dynamo", "sdpa", 18),
}
WAYS: Mapping[str, Way] = MappingProxyType(
    _WRITTEN | {f"{name}{OPTIMIZED}": replace(way, optimized=True) for name, way in _WRITTEN.items()}
)


class OneOutput(torch.nn.Module):
    """The model with one tensor as its output."""

    def __init__(self, model: torch.nn.Module, output: str) -> None:
        super().__init__()
        self.model, self.output = model, output

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> Any:
        """Return the one output; inputs that the model does not take are left out."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        return self.model(**{name: value for name, value in inputs.items() if value is not None})[self.output]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters: they warn of their own deprecation and of packages that are not needed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _set_attention(model: Any, attention: str) -> Iterator[None]:
    """Put the model in evaluation mode with one attention, and both back afterwards.

    Raises:
        HarnessError: the model's class has one attention alone, as DeBERTa's.
    """
    before, was_training = model.config._attn_implementation, model.training
    if attention != before and not model._can_set_attn_implementation():
        raise HarnessError(
            f"export: expected a model whose attention can be {attention}; got {type(model).__name__}, which "
            f"has {before} alone; take a graph with {before}"
        )
    model.eval()
    model.set_attn_implementation(attention)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        model.train(was_training)


def _make_example(inputs: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return a padded batch of two rows: exporters take sizes of 0 and 1 for constants."""
    mask_BL = torch.ones(2, 9, dtype=torch.int64)
    mask_BL[1, 6:] = 0
    every = {
        "input_ids": torch.full((2, 9), 2, dtype=torch.int64),
        "attention_mask": mask_BL,
        "token_type_ids": torch.zeros(2, 9, dtype=torch.int64),
    }
    return {name: every[name] for name in inputs}


def write_graph(
    model: Any, path: Path, way: Way, *, head: TaskHead, inputs: Sequence[str], max_length: int
) -> None:
    """Write one graph of a model; errors of the exporter are not caught.

    Raises:
        HarnessError: the graph holds operators that are not standard, or is too large for one file.
    """
    names: dict[str, Any] = {"input_names": list(inputs), "output_names": [head.output]}
    example, module = _make_example(inputs), OneOutput(model, head.output)
    with _quiet(), _set_attention(model, way.attention), torch.no_grad():
        if way.graph == "legacy":
            axes = {name: dict(enumerate(AXES)) for name in inputs} | {
                head.output: dict(enumerate(head.axes))
            }
            torch.onnx.export(
                module, (example,), path, dynamo=False, opset_version=way.opset, dynamic_axes=axes, **names
            )
        else:
            dims = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence", max=max_length)}
            torch.onnx.export(
                module, (), path, kwargs=example, dynamo=True, opset_version=way.opset, verbose=False,
                external_data=False, dynamic_shapes=dict.fromkeys(inputs, dims), **names,
            )  # fmt: skip
    _clean_graph(path, head)


def optimize_graph(source: Path, target: Path, *, head: TaskHead) -> None:
    """Write a copy of a graph after onnxruntime's optimizer, at its basic level.

    Raises:
        HarnessError: the graph holds operators that are not standard, or is too large for one file.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = _ERRORS_ONLY
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    _clean_graph(target, head)


def _clean_graph(path: Path, head: TaskHead) -> None:
    """Check a graph, write GELU as runtimes know it, and drop paths of this machine and guessed shapes."""
    if path.stat().st_size > LARGEST_BYTES or path.with_name(f"{path.name}.data").exists():
        raise HarnessError(
            "export: expected one file below 2 GiB; got a larger model; trim its vocabulary first"
        )
    graph = onnx.load(path)
    foreign = sorted(
        {node.domain for node in graph.graph.node if node.domain}
        | {function.name for function in graph.functions}
    )
    if foreign:
        raise HarnessError(
            f"export: expected standard operators only; got {', '.join(foreign)}; use another graph"
        )
    for node in graph.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    share_transposed(graph.graph)
    halve_gelu_last(graph.graph)
    del graph.graph.value_info[:]
    del graph.metadata_props[:], graph.graph.metadata_props[:]
    _name_axes(graph.graph.input, AXES)
    _name_axes(graph.graph.output, head.axes)
    onnx.save(graph, path)


def _name_axes(values: Any, axes: Sequence[str]) -> None:
    for value in values:
        for place, name in enumerate(axes):
            value.type.tensor_type.shape.dim[place].dim_param = name
