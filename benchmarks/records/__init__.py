"""Committed records, and the programs that keep and draw them."""
