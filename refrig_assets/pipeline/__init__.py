"""The steps of the batch path: read from the lake, apply transforms, write to the lake. No Dagster here."""
