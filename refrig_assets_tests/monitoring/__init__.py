"""Tests of findings and freshness."""
