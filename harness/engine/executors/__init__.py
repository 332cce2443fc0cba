"""Executors: where batches run. Same contract, different places."""
