"""The command line: one file a command, imported only when that command is asked for.

`--help` must answer at once, so this module imports click alone and states each command's
summary itself.
"""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = {
    "run": ("harness.cli.run:run", "Search with a strategy over a benchmark's prompts."),
    "resume": ("harness.cli.resume:resume", "Carry on with a run that was stopped."),
    "show": ("harness.cli.show:show", "Print what a run came to."),
    "compare": ("harness.cli.compare:compare", "Compare two runs prompt by prompt."),
    "report": ("harness.cli.report:report", "Write a page, figures and tables about runs."),
    "score": ("harness.cli.score:score", "Score a folder of images in GenEval's layout."),
    "import": ("harness.cli.import_run:import_run", "Make a run of another program's output."),
    "export": ("harness.cli.export:export", "Write a run's selected images in GenEval's layout."),
    "convert-detector": (
        "harness.cli.convert_detector:convert_detector",
        "Read an mmdet checkpoint into a detector folder.",
    ),
    "doctor": ("harness.cli.doctor:doctor", "Say what this machine can do, and check it."),
    "bench": ("harness.cli.bench:bench", "Measure this project's own speed."),
    "ls": ("harness.cli.ls:ls", "List strategies, benchmarks, models or runs."),
}


class _Commands(click.Group):
    """A group that knows its commands' names and summaries without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from harness.errors import UsageError, did_you_mean

            raise UsageError(f"unknown command '{args[0]}'", did_you_mean(args[0], COMMANDS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Try: python -m harness run --strategy best-of-n --budget 4 --limit 20",
)
@click.version_option(package_name="inference-scaling-harness", prog_name="harness")
def cli() -> None:
    """Measure what inference-time compute buys in text-to-image generation."""
