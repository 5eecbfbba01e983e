"""Export a fine-tuned encoder: ONNX graphs, smaller precisions, the quality gate and the demo page."""
