"""One plug-in of each kind: a small world of coloured squares."""

from pathlib import Path

SUITE = Path(__file__).parent / "squares.toml"
"""The suite `squares`: its generator and its judge."""

RESTATING = Path(__file__).parent / "restating.toml"
"""The suite `restating`: the miniature with a judge that replies."""
