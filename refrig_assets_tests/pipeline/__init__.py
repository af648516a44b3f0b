"""Tests of the steps of the pipeline."""
