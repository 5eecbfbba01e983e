"""Narrow the hidden size of a model and fit what remains to the wide model."""
