"""Blocks that more than one system uses."""
