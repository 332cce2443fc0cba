"""Estimates with intervals from arrays: means, pairs, subsets, mixtures. Knows no runs."""
