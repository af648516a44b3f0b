"""Tests of the stream."""
