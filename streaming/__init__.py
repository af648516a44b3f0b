"""The hot path: messages land within seconds, and what breaks at once is told at once. Never imports Dagster."""
