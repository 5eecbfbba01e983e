"""Write a model with its head as one fp32 ONNX file, next to its tokenizer and config.

Every candidate graph is compared with the torch model; of the graphs that equal it, the fastest is kept.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from harness.errors import HarnessError, first_line, unknown
from harness.export.graphs import OPTIMIZED, WAYS, optimize_graph, write_graph
from harness.export.source import ExportSource
from harness.measure.onnx_evaluation import OnnxChecker
from harness.measure.parity import probe_batches
from harness.models.loading.tokenizer_json import save_tokenizer
from harness.precisions import FP32, PRECISIONS

CANDIDATES = ("legacy", "dynamo")
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Candidate:
    """One graph that was tried.

    Attributes:
        name: its name in ``WAYS``.
        seconds: time to export and check it.
        size_bytes: size of the file; None where it was not written.
        max_abs_delta: largest difference of a logit from torch; None where it was not compared.
        argmax_agreement: share of positions with torch's best class; None where it was not compared.
        p50_ms: median latency among the candidates; None where it was not timed.
        refusal: why it could not be kept; None where it could.
    """

    name: str
    seconds: float
    size_bytes: int | None = None
    max_abs_delta: float | None = None
    argmax_agreement: float | None = None
    p50_ms: float | None = None
    refusal: str | None = None


@dataclass(frozen=True)
class ExportedModel:
    """A model that was exported.

    Attributes:
        path: the ONNX file; tokenizer.json, tokenizer_config.json and config.json are in the same folder.
        task: the task of its head.
        graph: ``legacy`` or ``dynamo``.
        attention: ``eager`` or ``sdpa``.
        optimized: whether onnxruntime's optimizer changed the graph.
        opset: version of the standard operators.
        inputs: names of the graph's inputs, all int64 of (batch, sequence).
        output: name of the graph's output.
        size_bytes: size of the file.
        max_abs_delta: largest difference of a logit from torch.
        argmax_agreement: share of positions with torch's best class; None for a regression.
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
    argmax_agreement: float | None
    reason: str
    candidates: tuple[Candidate, ...]

    def record(self) -> dict[str, Any]:
        """Return all of it as plain data, with the file's name in place of its path."""
        return asdict(self) | {"path": self.path.name}


def build_checker(
    source: ExportSource, *, length: int, seconds: float, threads: int = 1, seed: int = 0
) -> OnnxChecker:
    """Return the checker that compares exported files with their model on batches of random tokens.

    Args:
        source: the model.
        length: tokens of the longest batch; cut to the model's positions.
        seconds: how long files are timed when one of several is chosen.
        threads: of the timing.
        seed: of the tokens.
    """
    batches = probe_batches(
        source.inputs,
        vocabulary=source.model.config.vocab_size,
        pad_id=source.model.config.pad_token_id or 0,
        max_length=min(length, source.max_tokens),
        types=source.token_types,
        seed=seed,
    )
    return OnnxChecker(source.model, batches, threads=threads, budget_s=seconds)


def write_fp32(
    source: ExportSource,
    folder: Path,
    checker: OnnxChecker,
    *,
    candidates: Sequence[str] = CANDIDATES,
    tolerance: float = TOLERANCE,
) -> ExportedModel:
    """Write the model as ``model.onnx`` with its tokenizer and config.

    Invariants: the file differs from torch by ``tolerance`` at most over the checker's batches; the folder is
    enough to run the model with onnxruntime and tokenizers alone; the model is left as it was.

    Args:
        source: the model, its head and its tokenizer.
        folder: where to write; made where missing.
        checker: compares and times the candidates.
        candidates: names in ``WAYS``, the preferred first. A single candidate is not timed.
        tolerance: largest absolute difference of a logit.

    Raises:
        UsageError: no such candidate.
        HarnessError: no candidate could be kept; the message has the reason of each.
    """
    if unknown_names := [name for name in candidates if name not in WAYS]:
        raise unknown("graph", unknown_names[0], WAYS)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f".candidate-{name}.onnx" for name in candidates}
    target = folder / PRECISIONS[FP32].file
    try:
        tried = [_try_candidate(source, name, paths, checker, tolerance) for name in paths]
        kept, reason, p50_ms = _choose_candidate(tried, paths, checker)
        paths[kept.name].replace(target)
    finally:
        for path in paths.values():
            path.unlink(missing_ok=True)
    save_tokenizer(source.tokenizer, folder)
    source.model.config.save_pretrained(folder)
    way = WAYS[kept.name]
    return ExportedModel(
        path=target,
        task=source.task,
        graph=way.graph,
        attention=way.attention,
        optimized=way.optimized,
        opset=way.opset,
        inputs=source.inputs,
        output=source.head.output,
        size_bytes=target.stat().st_size,
        max_abs_delta=cast("float", kept.max_abs_delta),
        argmax_agreement=kept.argmax_agreement,
        reason=reason,
        candidates=tuple(replace(one, p50_ms=p50_ms.get(one.name)) for one in tried),
    )


def _try_candidate(
    source: ExportSource, name: str, paths: Mapping[str, Path], checker: OnnxChecker, tolerance: float
) -> Candidate:
    """Write and check one candidate; any error becomes its refusal, since another candidate may succeed."""
    start = time.perf_counter()
    try:
        _write_candidate(source, name, paths)
        parity = checker.measure_parity(paths[name])
    except Exception as error:
        refusal = f"{type(error).__name__}: {first_line(error) if str(error) else 'no message'}"
        return Candidate(name, time.perf_counter() - start, refusal=refusal)
    differs = not parity.max_abs_delta <= tolerance
    return Candidate(
        name,
        time.perf_counter() - start,
        size_bytes=paths[name].stat().st_size,
        max_abs_delta=parity.max_abs_delta,
        argmax_agreement=parity.argmax_agreement,
        refusal=f"a logit differs from torch by {parity.max_abs_delta:.2e}, more than {tolerance:.0e}"
        if differs
        else None,
    )


def _write_candidate(source: ExportSource, name: str, paths: Mapping[str, Path]) -> None:
    """Write one candidate; an optimised graph is made from the plain one, which is written at most once."""
    base = name.removesuffix(OPTIMIZED)
    plain = paths.get(base, paths[name])
    if not plain.is_file():
        write_graph(
            source.model, plain, WAYS[base],
            head=source.head, inputs=source.inputs, max_length=source.max_tokens,
        )  # fmt: skip
    if name != base:
        optimize_graph(plain, paths[name], head=source.head)


def _choose_candidate(
    tried: Sequence[Candidate], paths: Mapping[str, Path], checker: OnnxChecker
) -> tuple[Candidate, str, Mapping[str, float]]:
    """Return the candidate to keep, the reason, and the median latency of each that was timed."""
    sound = {one.name: one for one in tried if one.refusal is None}
    if not sound:
        refusals = "; ".join(f"{one.name}: {one.refusal}" for one in tried)
        raise HarnessError(
            f"export: expected one graph that equals the model; got none ({refusals}); "
            f"try other candidates of {', '.join(WAYS)}"
        )
    if len(sound) == 1:
        (kept,) = sound.values()
        why = "was asked for" if len(tried) == 1 else "could be taken"
        return kept, f"'{kept.name}' was the only graph that {why}", {}
    choice = checker.choose_fastest({name: paths[name] for name in sound})
    return sound[choice.name], choice.reason, choice.p50_ms
