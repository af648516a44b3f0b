"""Fleet monitoring for refrigeration: contracts, transforms, lake, simulator, Dagster definitions, command line."""
