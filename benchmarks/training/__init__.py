"""Distilling mBERT's shape: this trainer and the published loop."""
