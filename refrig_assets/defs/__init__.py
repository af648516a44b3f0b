"""The thin Dagster layer: one module per Dagster concept. What is known of the data lives in the layers below."""
