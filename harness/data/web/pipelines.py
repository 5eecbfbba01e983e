"""The pipelines that make a corpus: MinHash signatures, their matches, clusters, the text, the manifest.

This module imports datatrove, an extra: only `harness.data.web.build` imports it, when a corpus is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.utils.hashing import HashConfig

from harness.data.web.datatrove_executors import PipelineStage
from harness.data.web.pipeline_steps import CollectShards, ReadDocuments, ScriptWords, WriteShards

if TYPE_CHECKING:
    from harness.data.web.build import CorpusRequest

_BUFFERED = 1000
"""Signatures that are read at once."""


def plan_stages(request: CorpusRequest, tasks: int) -> list[PipelineStage]:
    """Return the stages, of which each reads what the one before wrote."""
    workspace = request.workspace
    config = MinhashConfig(hash_config=HashConfig(hash_fc="sha1"))
    signatures, matches, removed = (
        str(workspace.root / name) for name in ("signatures", "matches", "removed")
    )
    read = ReadDocuments(request.files, request.selection, workspace)
    return [
        PipelineStage("signatures", [read, MinhashDedupSignature(signatures, config, ScriptWords())], tasks),
        PipelineStage(
            "matches",
            [MinhashDedupBuckets(signatures, matches, config=config, lines_to_buffer=_BUFFERED)],
            config.num_buckets,
        ),
        PipelineStage(
            "clusters", [MinhashDedupCluster(matches, removed, config, lines_to_buffer=_BUFFERED)], 1
        ),
        PipelineStage(
            "text",
            [read, MinhashDedupFilter(removed, lines_to_buffer=_BUFFERED), WriteShards(workspace)],
            tasks,
        ),
        PipelineStage("manifest", [CollectShards(workspace, request.languages, request.settings)], 1),
    ]
