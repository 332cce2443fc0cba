"""The kind of option or argument that names a run: a folder, or a place in an object store."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from harness.cli.kinds import amount

if TYPE_CHECKING:
    from harness.log.location import Location
    from harness.log.run_folder import RunFolder
    from harness.runs.money import Price


class RunPlace(click.ParamType["Location"]):
    """A path, or an `s3://bucket/prefix` URI with pyarrow's parameters."""

    name = "place"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Location:
        """Return the place that the word names; a UsageError if it is a URI that names no place."""
        from harness.log.location import location

        return location(value)


class ExistingRun(click.ParamType["RunFolder"]):
    """A place with a run."""

    name = "run"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> RunFolder:
        """The run that lives there; a UsageError if none does."""
        from harness.log.run_folder import RunFolder

        return RunFolder.existing(value)


def plugins_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --plugins, without which nothing is imported that a manifest names by import path."""

    @functools.wraps(command)
    def guarded(*, plugins: bool, **options: Any) -> Any:
        from harness.registry import import_paths

        with import_paths(allowed=plugins):
            return command(**options)

    text = (
        "Import code that a manifest names by import path, run what it trusts beside checkpoints, "
        "and ask the endpoint that it names."
    )
    return click.option("--plugins", is_flag=True, help=text)(guarded)


def price_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --price and --token-price, which the command gets as one `price`."""

    @functools.wraps(command)
    def gathered(*, hour: float | None, million_tokens: float | None, **options: Any) -> Any:
        from harness.runs.money import Price

        return command(price=Price(hour, million_tokens), **options)

    tokens = click.option("--token-price", "million_tokens", type=amount, metavar="MONEY",
                          help="Of a million tokens of a judge at an endpoint.")  # fmt: skip
    hours = click.option("--price", "hour", type=amount, metavar="MONEY",
                         help="Of a device-hour: what the runs cost is printed.")  # fmt: skip
    return hours(tokens(gathered))


def price_words(price: Price) -> list[str]:
    """Return the options of `price_options` that say a price."""
    pairs = (("--price", price.hour), ("--token-price", price.million_tokens))
    return [word for name, of in pairs if of is not None for word in (name, str(of))]


def resume_command(folder: Location, config: Mapping[str, Any]) -> str:
    """Return the command that carries on with a run, with all that it needs."""
    from harness.models.judges.chosen import is_remote
    from harness.models.remote_code import trusting

    named = [config["strategy"]["name"], config["benchmark"]["name"]]
    named += [config[role]["kind"] for role in ("generator", "judge")]
    asks = any(":" in str(name) for name in named) or is_remote(str(named[-1])) or trusting(config)
    flag = " --plugins" if asks else ""
    return f"python -m harness resume {shlex.quote(str(folder))}{flag}"


reuse_option = click.option(
    "--reuse",
    type=ExistingRun(),
    multiple=True,
    metavar="RUN",
    help="A run whose draws are not made again where this one asks for the same.",
)
