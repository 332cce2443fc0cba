"""A GPU measured in minutes with full-size models of random weights: `python -m tests.perf.gpu`."""
