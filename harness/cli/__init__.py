"""The command line: one file a command, imported only when that command is asked for.

`--help` must answer at once, so this module imports click alone and states each command's
summary itself.
"""

from __future__ import annotations

import click

from harness.cli.lazy import LazyGroup

COMMANDS = {
    "run": ("harness.cli.run:run", "Search with a strategy over a benchmark's prompts."),
    "resume": ("harness.cli.resume:resume", "Carry on with a run that was stopped."),
    "repair": ("harness.cli.repair:repair", "Set aside what is damaged in a run's log."),
    "show": ("harness.cli.show:show", "Print what a run came to."),
    "compare": ("harness.cli.compare:compare", "Compare two runs prompt by prompt."),
    "report": ("harness.cli.report:report", "Write a page, figures and tables about runs."),
    "view": ("harness.cli.view:view", "Look at runs in a browser."),
    "what-if": ("harness.cli.what_if:what_if", "Replay another strategy against a run's draws."),
    "forecast": ("harness.cli.forecast:forecast", "Predict what a larger budget would buy."),
    "score": ("harness.cli.score:score", "Score images, whatever made them."),
    "import": ("harness.cli.import_run:import_run", "Make a run of another program's output."),
    "audit": ("harness.cli.audit:audit", "Check a run as a reviewer would who trusts nobody."),
    "export": ("harness.cli.export:export", "Write a run's images or draws for other tools."),
    "convert-detector": (
        "harness.cli.convert_detector:convert_detector",
        "Read an mmdet checkpoint into a detector folder.",
    ),
    "bundle": ("harness.cli.bundle:bundle", "Pack a run for an auditor elsewhere."),
    "doctor": ("harness.cli.doctor:doctor", "Say what this machine can do, and check it."),
    "simulate": ("harness.cli.simulate:simulate", "What a run would take on more GPUs."),
    "bench": ("harness.cli.bench:bench", "Measure how fast a run is on this machine."),
    "ls": ("harness.cli.ls:ls", "List strategies, benchmarks, models or runs."),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
    },
    epilog="Try: python -m harness run --strategy reflect --budget 20 --limit 20 --beside single",
)
@click.version_option(package_name="inference-scaling-harness", prog_name="harness")
def cli() -> None:
    """Measure what inference-time compute buys in text-to-image generation."""
