"""Exporting: a checkpoint becomes ONNX files that run without torch."""
