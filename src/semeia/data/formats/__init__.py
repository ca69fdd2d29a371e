"""One file a format: what reads it and what writes it."""
