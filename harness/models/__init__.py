"""Encoders as material: families, checkpoints, surgery, scores, tokenizers and the accounting of their size."""
