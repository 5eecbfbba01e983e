"""The losses and layers of distillation: compiled where the extension is, in pure PyTorch elsewhere."""

from __future__ import annotations

from harness.ops.extension import explanation, implementation

__all__ = ["explanation", "implementation"]
