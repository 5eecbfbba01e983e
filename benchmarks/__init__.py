"""Benchmarks: each room measures one thing, over shared helpers in `common`."""
