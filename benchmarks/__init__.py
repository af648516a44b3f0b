"""Measurements against the physical limit and against peers; each module runs as `python -m benchmarks.NAME`."""
