"""Benchmarks: ``python -m tests.bench NAME`` prints tables that a reader can repeat."""
