"""Second implementations, as oracles: slow, plain, and sharing nothing with what they check.

A report's tables in plain Python over one search at a time, where `harness.analysis` works on
arrays of all of them; and a counter of FLOPs beside torch's.
"""
