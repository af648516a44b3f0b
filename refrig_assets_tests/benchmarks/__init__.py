"""Tests of the benchmarks: that what is compared computes the same."""
