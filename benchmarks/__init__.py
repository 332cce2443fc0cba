"""Benchmarks: sets of prompts and the scorers that belong to them."""
