"""A model with its head as one ONNX file, beside its tokenizer and config.

Every candidate graph is checked against the torch model; of those that say the same, the faster is kept. Who
checks and times is given (:class:`Judge`), so that exporting and measuring stay apart.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

from harness.errors import HarnessError, unknown
from harness.export.graphs import OPTIMIZED, WAYS, optimize_graph, write_graph
from harness.export.heads import check_head
from harness.families import max_input_tokens
from harness.models.loading.encoder import count_token_types
from harness.precisions import FP32, PRECISIONS

FILE = PRECISIONS[FP32].file
CANDIDATES = ("legacy", "dynamo")
TOLERANCE = 1e-4
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Parity(Protocol):
    """How far a graph is from the model."""

    @property
    def max_abs_delta(self) -> float:
        """Largest absolute difference of a logit."""

    @property
    def argmax_agreement(self) -> float:
        """Share of positions with the same best class."""


class Choice(Protocol):
    """Which of several files is fastest, and why."""

    @property
    def name(self) -> str:
        """The file's name among those given."""

    @property
    def reason(self) -> str:
        """One sentence with the numbers."""

    @property
    def p50_ms(self) -> Mapping[str, float]:
        """The median latency of each."""


class Judge(Protocol):
    """Who checks and times files; ``harness.measure.onnx_evaluation.Judge`` is one."""

    def parity(self, path: Path) -> Parity:
        """Compares a file with the model it came from."""

    def fastest(self, paths: Mapping[str, Path]) -> Choice:
        """Chooses among files."""


@dataclass(frozen=True)
class Candidate:
    """One graph that was tried.

    Attributes:
        name: its name in ``WAYS``.
        seconds: time to export and check it.
        size_bytes: size of the file; None where it was not written.
        max_abs_delta: largest difference of a logit from torch; None where it was not compared.
        argmax_agreement: share of positions with torch's best class; None where it was not compared.
        p50_ms: median latency beside the others; None where it was not timed.
        refusal: why it could not be taken; None where it could.
    """

    name: str
    seconds: float
    size_bytes: int | None = None
    max_abs_delta: float | None = None
    argmax_agreement: float | None = None
    p50_ms: float | None = None
    refusal: str | None = None


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        path: the ONNX file; tokenizer.json, tokenizer_config.json and config.json lie beside it.
        task: the task of its head.
        graph: ``legacy`` or ``dynamo``.
        attention: ``eager`` or ``sdpa``.
        optimized: whether onnxruntime's optimizer went over it.
        opset: version of the standard operators.
        inputs: names of the graph's inputs, all int64 of (batch, sequence).
        output: name of the graph's output.
        size_bytes: size of the file.
        max_abs_delta: largest difference of a logit from torch.
        argmax_agreement: share of positions with torch's best class.
        reason: why this graph was kept.
        candidates: every graph that was tried.
    """

    path: Path
    task: str
    graph: str
    attention: str
    optimized: bool
    opset: int
    inputs: tuple[str, ...]
    output: str
    size_bytes: int
    max_abs_delta: float
    argmax_agreement: float
    reason: str
    candidates: tuple[Candidate, ...]

    def record(self) -> dict[str, Any]:
        """Gives all of it as plain data, with the file's name in place of its path."""
        return asdict(self) | {"path": self.path.name}


def inputs_of(model: Any, tokenizer: Any) -> tuple[str, ...]:
    """Gives the graph's inputs: what the tokenizer gives and the model takes.

    ``token_type_ids`` are among them only where the model tells one type from another.
    """
    takes = inspect.signature(model.forward).parameters
    given = [name for name in _INPUTS if name in tokenizer.model_input_names and name in takes]
    if count_token_types(model) < 2 and "token_type_ids" in given:
        given.remove("token_type_ids")
    if "input_ids" not in given:
        raise HarnessError(
            f"export: wanted a model and a tokenizer that share 'input_ids'; got "
            f"{', '.join(tokenizer.model_input_names)}; give the model's own tokenizer"
        )
    return tuple(given)


def longest_input(model: Any) -> int:
    """Gives how many tokens the model takes: its positions, less those RoBERTa's keep for padding."""
    return cast("int", max_input_tokens(model.config.to_dict()))


def export(
    model: Any,
    tokenizer: Any,
    folder: Path,
    *,
    task: str,
    judge: Judge,
    candidates: Sequence[str] = CANDIDATES,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Writes the model as ``model.onnx`` with its tokenizer and config beside it.

    What holds: the file kept differs from torch by ``tolerance`` at most over the judge's batches; the folder
    is enough to run the model with onnxruntime and tokenizers alone; the model given is left as it was.

    Args:
        model: a float32 transformers model with the task's head.
        tokenizer: its fast tokenizer.
        folder: where to write; made where missing.
        task: a row of ``harness.tasks.HEADS``.
        judge: checks and times the candidates.
        candidates: names in ``WAYS``, the preferred first. One alone is not timed.
        tolerance: largest absolute difference of a logit.

    Raises:
        UsageError: no such task or candidate.
        HarnessError: a model that does not fit the task; no candidate could be taken (each reason is told).
    """
    if unknown_names := [name for name in candidates if name not in WAYS]:
        raise unknown("graph", unknown_names[0], WAYS)
    head, inputs = check_head(model, task), inputs_of(model, tokenizer)
    write = partial(write_graph, model, head=head, inputs=inputs, max_length=longest_input(model))
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f".candidate-{name}.onnx" for name in candidates}
    try:
        tried = [
            _try(name, path, partial(_write, name, paths, write), judge=judge, tolerance=tolerance)
            for name, path in paths.items()
        ]
        sound = {one.name: paths[one.name] for one in _sound(tried)}
        name, reason, p50_ms = _choose(sound, judge, alone=len(tried) == 1)
        paths[name].replace(folder / FILE)
    finally:
        for path in paths.values():
            path.unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    model.config.save_pretrained(folder)
    kept = next(one for one in tried if one.name == name)
    return Exported(
        path=folder / FILE,
        task=task,
        graph=WAYS[name].graph,
        attention=WAYS[name].attention,
        optimized=WAYS[name].optimized,
        opset=WAYS[name].opset,
        inputs=inputs,
        output=head.output,
        size_bytes=(folder / FILE).stat().st_size,
        max_abs_delta=cast("float", kept.max_abs_delta),
        argmax_agreement=cast("float", kept.argmax_agreement),
        reason=reason,
        candidates=tuple(replace(one, p50_ms=p50_ms.get(one.name)) for one in tried),
    )


def _write(name: str, paths: Mapping[str, Path], write: partial[None]) -> None:
    """Writes one candidate; an optimised one from the graph it optimises, where that was written already."""
    base = name.removesuffix(OPTIMIZED)
    source = paths.get(base, paths[name])
    if not source.is_file():
        write(source, WAYS[base])
    if name != base:
        optimize_graph(source, paths[name], head=write.keywords["head"])


def _sound(tried: Sequence[Candidate]) -> list[Candidate]:
    if sound := [one for one in tried if one.refusal is None]:
        return sound
    told = "; ".join(f"{one.name}: {one.refusal}" for one in tried)
    raise HarnessError(
        f"export: wanted one graph that equals the model; got none ({told}); "
        f"try other candidates of {', '.join(WAYS)}"
    )


def _choose(sound: Mapping[str, Path], judge: Judge, *, alone: bool) -> tuple[str, str, Mapping[str, float]]:
    if len(sound) == 1:
        name = next(iter(sound))
        return name, f"'{name}' was the only graph that {'was asked for' if alone else 'could be taken'}", {}
    choice = judge.fastest(sound)
    return choice.name, choice.reason, choice.p50_ms


def _try(name: str, path: Path, write: Callable[[], None], *, judge: Judge, tolerance: float) -> Candidate:
    """Writes and checks one candidate; whatever goes wrong becomes its refusal, for another may do."""
    start = time.perf_counter()
    try:
        write()
        parity = judge.parity(path)
    except Exception as error:
        told = f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"
        return Candidate(name, time.perf_counter() - start, refusal=told)
    refusal = None
    if not parity.max_abs_delta <= tolerance:
        refusal = f"a logit differs from torch by {parity.max_abs_delta:.2e}, more than {tolerance:.0e}"
    return Candidate(
        name,
        time.perf_counter() - start,
        size_bytes=path.stat().st_size,
        max_abs_delta=parity.max_abs_delta,
        argmax_agreement=parity.argmax_agreement,
        refusal=refusal,
    )
