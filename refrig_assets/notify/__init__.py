"""Who is told what, through which channel, once. What happened is decided elsewhere; no Dagster here."""
