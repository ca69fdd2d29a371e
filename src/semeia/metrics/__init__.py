"""Protocol metrics."""
