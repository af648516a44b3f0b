"""Judging what the tables hold: findings with counts and bounded samples. No Dagster, no I/O."""
