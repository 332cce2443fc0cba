"""Measures beside a benchmark's scorer: held out of a search, or what a judge is made of."""
