"""What happens to alerts: changes, their fold, deadlines. Frames in, frames out; no I/O, no Dagster, no clock."""
