"""Search strategies: one file each, written against `strategies.base` and `harness.records`."""
