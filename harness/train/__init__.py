"""Training: the steps that change a model's weights and never its shape.

`pretraining` runs masked-language modelling and distillation, `finetuning` a task; `losses` is the
table of what a step may minimise, `batches` the deterministic stream of masked batches, `trainer` the
one door to `transformers.Trainer`.
"""

from __future__ import annotations
