"""The kind of option or argument that names a run: a folder, or a place in an object store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from harness.log.location import Location
    from harness.log.run_folder import RunFolder


class RunPlace(click.ParamType["Location"]):
    """A path, or an `s3://bucket/prefix` URI with pyarrow's parameters."""

    name = "place"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Location:
        """What the word means; a UsageError if it is a URI that names no place."""
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


reuse_option = click.option(
    "--reuse",
    type=ExistingRun(),
    multiple=True,
    metavar="RUN",
    help="A run whose draws are not made again where this one asks for the same.",
)
