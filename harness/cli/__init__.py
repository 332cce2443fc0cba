"""The command line: one file a command, imported only when that command is asked for.

`--help` must answer at once, so this module imports click alone and states each command's
summary itself.
"""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = {
    "run": "Search with a strategy over a benchmark's prompts.",
    "resume": "Carry on with a run that was stopped.",
    "repair": "Set aside what is damaged in a run's log.",
    "show": "Print what a run came to.",
    "compare": "Compare two runs prompt by prompt.",
    "report": "Write a page, figures and tables about runs.",
    "view": "Look at runs in a browser.",
    "what-if": "Replay another strategy against a run's draws.",
    "forecast": "Predict what a larger budget would buy.",
    "score": "Score images, whatever made them.",
    "import": "Make a run of another program's output.",
    "audit": "Check a run as a reviewer would who trusts nobody.",
    "export": "Write a run's images or draws for other tools.",
    "convert-detector": "Read an mmdet checkpoint into a detector folder.",
    "bundle": "Pack a run for an auditor elsewhere.",
    "doctor": "Say what this machine can do, and check it.",
    "simulate": "What a run would take on more GPUs.",
    "bench": "Measure how fast a run is on this machine.",
    "ls": "List strategies, benchmarks, models or runs.",
}
"""Summaries of the commands. Each is the function of its name in the module of its name."""

_NAMES = {"import": "import_run"}
"""Where a command's name cannot be that of its function."""


class LazyGroup(click.Group):
    """The group of the `COMMANDS`, each imported only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names, in the order of the help page."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        name = _NAMES.get(cmd_name, cmd_name.replace("-", "_"))
        command: click.Command = getattr(import_module(f"harness.cli.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the one that was probably meant."""
        unknown = args and args[0] not in COMMANDS and not args[0].startswith("-")
        if unknown and not ctx.resilient_parsing:  # as for tab completion, which fails in silence
            from harness.errors import UsageError, did_you_mean

            raise UsageError(f"unknown command '{args[0]}'", did_you_mean(args[0], COMMANDS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the summaries."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
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
