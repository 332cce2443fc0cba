"""Drives searches: a pure scheduler, executors that run batches, the engine that joins them."""
