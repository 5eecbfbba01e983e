"""Run stages once each, keep their outputs, and verify them. Knows nothing about machine learning."""

from __future__ import annotations

from harness.pipeline.execute import Context, Finished, Observer, Runner, execute
from harness.pipeline.manifest import Environment, Manifest
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.status import StageStatus, status
from harness.pipeline.store import Store
from harness.pipeline.verify import Finding, verify

__all__ = [
    "Context",
    "Environment",
    "Finding",
    "Finished",
    "Manifest",
    "Observer",
    "Plan",
    "Runner",
    "Stage",
    "StageStatus",
    "Store",
    "execute",
    "status",
    "verify",
]
