"""Load once, read many."""
