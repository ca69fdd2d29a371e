"""One file a published system."""
