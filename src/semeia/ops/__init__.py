"""Pure functions on tensors and arrays."""
