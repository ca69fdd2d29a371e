"""Generators that write data sets in real formats."""
