"""Encoders as material: families, checkpoints, surgery, scores, tokenizers, accounting."""
