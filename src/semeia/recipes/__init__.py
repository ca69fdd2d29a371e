"""One file a system: configuration, data, optimiser, stages."""
