"""Pure functions from frames to frames: cleansing, event identity, windows and features. No I/O, no clock."""
