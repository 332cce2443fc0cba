"""Types that options of several commands share, and pairs as one dict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)
NATURAL = click.IntRange(min=0)
DTYPE = click.Choice(["float32", "bfloat16", "float16"])
DEVICE = click.Choice(["auto", "cpu", "cuda"])
PAIR = "NAME=VALUE"


def pairs(flag: str, name: str, help: str, metavar: str = PAIR) -> Callable[[Any], Any]:
    """Return an option that may be given several times; the command gets a dict.

    Options are parsed before torch is imported, so that a typo is answered at once.
    """

    def parsed(
        context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
    ) -> dict[str, str]:
        from harness.options import parse

        return parse(given, flag=flag)

    return click.option(flag, name, multiple=True, metavar=metavar, callback=parsed, help=help)


def amount(text: str) -> float:
    """Read an amount of money: a function, since of click's ranges the help prints the bounds."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1e9:
        raise click.BadParameter(f"'{text}' is no amount between 0 and 1e9")
    return value


def words(context: click.Context, parameter: click.Parameter, given: str | None) -> tuple[str, ...]:
    """Part an option's value at its commas."""
    return tuple(word.strip() for word in (given or "").split(",") if word.strip())


def by_role(values: dict[str, str], flag: str) -> dict[Any, float]:
    """Return the number that each role is given.

    Raises:
        UsageError: A name is no role's, or a value no number.
    """
    from harness.errors import UsageError, did_you_mean
    from harness.records import Role

    numbers = {}
    for name, value in values.items():
        if name not in list(Role):
            raise UsageError(f"{flag}: unknown role '{name}'", did_you_mean(name, Role))
        try:
            numbers[Role(name)] = float(value)
        except ValueError:
            raise UsageError(f"{flag} {name} takes a number, got '{value}'") from None
    return numbers
