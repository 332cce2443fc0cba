"""`bench`: this project's speed, against the plain way of doing the same. One file a command."""

from __future__ import annotations

from harness.cli.lazy import LazyGroup

COMMANDS = {
    "engine": ("harness.cli.bench.engine:engine", "The engine against plain loops."),
    "load": ("harness.cli.bench.load:load", "Memory and resume of a run of 100,000 candidates."),
    "faults": ("harness.cli.bench.faults:faults", "The driver killed and resumed, 20 times."),
    "gpu": ("harness.cli.bench.gpu:gpu", "Full-size models with random weights on a GPU."),
    "score": ("harness.cli.bench.score:score", "Scoring against a loop over single images."),
    "report": ("harness.cli.bench.report:report", "A report of a made-up run of a million draws."),
}

bench = LazyGroup(
    COMMANDS,
    name="bench",
    help="Measure how fast things are here, each against a plain way of doing the same.",
    short_help="Measure this project's own speed.",
)
