"""One plug-in of each kind: a small world of coloured squares."""

from pathlib import Path

SUITE = Path(__file__).parent / "squares.toml"
"""The suite `squares`: its generator and its judge."""
