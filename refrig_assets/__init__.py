"""Refrigeration fleet monitoring: contracts, transforms, lake, simulator, Dagster definitions and the `refrig` command."""
