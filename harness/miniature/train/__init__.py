"""Training of the miniature, one stage a file; ``python -m harness.miniature.train --help``."""
