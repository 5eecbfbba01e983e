"""What the stages that export, time and check ONNX files report: the types of their facts."""

from __future__ import annotations

from harness.stages.io.facts import Facts


class CandidateFacts(Facts):
    """A graph that was tried for an export; without parity and time where it could not be used."""

    name: str
    seconds: float
    size_bytes: int | None
    max_abs_delta: float | None
    argmax_agreement: float | None
    p50_ms: float | None
    refusal: str | None


class GraphFacts(Facts):
    """An fp32 file, the graph that was kept in it and why, and its largest difference from torch."""

    path: str
    task: str
    graph: str
    attention: str
    optimized: bool
    opset: int
    inputs: list[str]
    output: str
    size_bytes: int
    max_abs_delta: float
    argmax_agreement: float | None
    reason: str
    candidates: list[CandidateFacts]


class Int8Facts(Facts):
    """An int8 file and its largest difference from torch."""

    path: str
    size_bytes: int
    max_abs_delta: float
    argmax_agreement: float | None


class ExportFacts(Facts):
    """A fine-tuned model's ONNX files."""

    fp32: GraphFacts
    int8: Int8Facts | None = None


class SpeedFacts(Facts):
    """How many times as fast as the teacher's fp32 file a file is, with its interval."""

    value: float
    low: float
    high: float


class TimingFacts(Facts):
    """One file timed at one input length, number of threads and batch size."""

    task: str
    role: str
    precision: str
    length: int
    threads: int
    batch_size: int
    rounds: int
    p50_ms: float
    p90_ms: float
    speed_ratio: SpeedFacts


class LatencyFacts(Facts):
    """Every file timed at every setting."""

    latency: list[TimingFacts]


class GateFacts(Facts):
    """The verdict of the quality gate on a copy: the fields of `harness.measure.gate.GateVerdict`."""

    metric: str
    part: str
    num_items: int
    original: float
    score: float
    drop: float
    low: float
    high: float
    allowed: float
    passed: bool
    reason: str


class CopyFacts(Facts):
    """A copy of an export in another precision; `tried` is the drop with each set of parts kept in fp32."""

    task: str
    precision: str
    size_bytes: int
    verdict: GateFacts
    kept_parts: list[str]
    tried: list[tuple[list[str], float]]


class PrecisionsFacts(Facts):
    """Every copy of the final student's exports."""

    copies: list[CopyFacts]


class GateResultFacts(Facts):
    """A copy's way through the quality gate: the fields of `harness.deploy.quality_gate.GateResult`."""

    verdict: GateFacts
    kept_parts: list[str]
    tried: list[tuple[list[str], float]]


class ScoreFacts(Facts):
    """A score on the test part, with its interval."""

    value: float
    low: float
    high: float


class FileQualityFacts(Facts):
    """One file of an export: its size, its distance from torch, and its scores on the test part by metric.

    `gate` is None for the fp32 file and where nothing was scored.
    """

    precision: str
    size_bytes: int
    compressed_bytes: int
    max_abs_delta: float
    argmax_agreement: float | None
    num_positions: int
    scores: dict[str, ScoreFacts] | None
    label_agreement: float | None
    gate: GateResultFacts | None


class QualityFacts(Facts):
    """Every file of the final student's export for a task."""

    files: list[FileQualityFacts]


class PackageFacts(Facts):
    """The precision of an export to take, and why.

    `label_agreement` is the share of the test part's labels that each file has in common with the fp32 file;
    None where nothing was scored.
    """

    default: str
    default_reason: str
    label_agreement: dict[str, float] | None = None
