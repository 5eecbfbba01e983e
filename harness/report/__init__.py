"""Reporting: plain results in, ``report.md``, ``report.html`` and ``results.json`` out. Imports no torch."""
