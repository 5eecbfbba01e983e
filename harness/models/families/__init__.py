"""The model families: the layout of their tensors, and their MLM heads."""
