"""Measuring: scores, latency, memory, parity, and what they were measured on. Nothing here trains."""
