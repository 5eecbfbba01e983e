"""Fine-tune an encoder on a labelled task."""
