"""Check before a run that its processes can share its batches."""

from __future__ import annotations

from harness.errors import UsageError
from harness.pipeline.plan import Plan, Stage


def refuse_unshareable(plan: Plan, processes: int) -> None:
    """Refuse processes that are more than the rows of a batch.

    Raises:
        UsageError: a stage cannot be shared among so many processes.
    """
    if processes == 1:
        return
    for stage in plan:
        rows = count_rows(stage)
        if rows is not None and rows < processes:
            raise UsageError(
                f"{stage.id}: expected at most {rows} processes, the rows of a batch; got {processes}; start "
                "fewer, or enlarge the batch in the scale"
            )


def count_rows(stage: Stage) -> int | None:
    """Return how many of the longest rows go through a model at once; None where nothing is trained."""
    config = stage.settings
    if "protocol" in config and stage.kind == "score":
        return int(config["protocol"]["batch_size"])
    if "learning_rate" not in config or "batch_tokens" not in config:
        return None
    batch, at_once = int(config["batch_tokens"]), config.get("device_tokens")
    parts = 1 if at_once is None else -(-batch // min(batch, at_once))
    return -(-batch // parts) // int(config["sequence_length"])
