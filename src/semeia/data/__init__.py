"""Samples, batches with missing labels, orders and splits."""
