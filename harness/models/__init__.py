"""Generators, judges, and the suites and checkpoints they are made of."""
