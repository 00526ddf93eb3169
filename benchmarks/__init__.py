"""Measurements: `python -m benchmarks.<name>` prints a table and asserts nothing."""
