"""The rows of results about ONNX files."""

from __future__ import annotations

from pydantic import model_validator

from harness.report.values import Amount, Count, Estimate, Key, ReportModel, Share, SpeedRatio


class ExportResult(ReportModel):
    """One ONNX file: its size, its difference from torch, and its speed.

    Attributes:
        precision: fp32, int8.
        graph: the exporter whose graph was kept; ``reason`` says why.
        max_abs_delta: largest difference of a logit from torch over attended positions.
        argmax_agreement: share of positions of a few random rows with torch's best class.
        label_agreement: share of the test part's labels that are the fp32 file's; of the student alone.
        ratio: speed compared with the teacher's fp32 file in the same rounds; None for that file itself.
        threads: of the timing, with ``length`` tokens in each of ``batch_size`` rows (None in old records,
            which do not state it).
        key: of the manifest of the export; ``latency_key`` of the manifest of the timing.
    """

    model: str
    task: str
    precision: str
    graph: str | None = None
    reason: str | None = None
    size_bytes: Count | None = None
    max_abs_delta: Amount | None = None
    argmax_agreement: Share | None = None
    label_agreement: Share | None = None
    p50_ms: Amount | None = None
    p90_ms: Amount | None = None
    ratio: SpeedRatio | None = None
    threads: Count | None = None
    length: Count | None = None
    batch_size: Count | None = None
    key: Key
    latency_key: Key | None = None


class PrecisionResult(ReportModel):
    """A copy of an export in another precision, and the verdict of the quality gate.

    Invariants: a copy failed only where its drop is larger than allowed and the drop's interval excludes 0.

    Attributes:
        original: score of the fp32 file on ``num_items`` items of the dev part; ``score`` that of the copy.
        drop: original less copy, with its interval.
        allowed: the drop that is allowed.
        kept_parts: parts of the model that had to stay in fp32.
        key: of the manifest.
    """

    model: str
    task: str
    precision: str
    size_bytes: Count
    metric: str
    num_items: Count
    original: Share
    score: Share
    drop: Estimate
    allowed: Amount
    passed: bool
    kept_parts: tuple[str, ...] = ()
    key: Key

    @model_validator(mode="after")
    def _check_verdict(self) -> PrecisionResult:
        if not self.passed and not (self.drop.value > self.allowed and self.drop.excludes(0)):
            raise ValueError("failed without a drop that is larger than allowed and significant")
        return self
