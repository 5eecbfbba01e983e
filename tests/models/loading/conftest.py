"""A saved checkpoint of each tiny encoder."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.models.loading.checkpoint import save_checkpoint


@pytest.fixture
def folder(encoder, tmp_path) -> Path:
    save_checkpoint(encoder.model, encoder.tokenizer, tmp_path / "teacher")
    return tmp_path / "teacher"
