"""GenEval's detectors: what one is, the kinds there are, and how one is loaded and probed."""
