"""A group of commands that are imported only when they are asked for, so that help is instant."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """A group that knows its commands' names and summaries without importing them.

    Args:
        lazy: For each command, in the order of the help page, `module:attribute` and a summary.
        options: As click's own group takes them.
    """

    def __init__(self, lazy: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(**options)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands' names, in the order of the help page."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None if there is none of that name."""
        if cmd_name not in self._lazy:
            return None
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the one that was probably meant."""
        unknown = args and args[0] not in self._lazy and not args[0].startswith("-")
        if unknown and not ctx.resilient_parsing:  # as for tab completion, which fails in silence
            from harness.errors import UsageError, did_you_mean

            raise UsageError(f"unknown command '{args[0]}'", did_you_mean(args[0], self._lazy))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the summaries."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self._lazy.items()])
