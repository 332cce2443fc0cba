"""Types and options that several commands share.

Options are parsed before torch or pandas is imported, so that a typo is answered at once.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.errors import UsageError, did_you_mean
from harness.log.run_folder import RunFolder
from harness.price import Price
from harness.registry import import_paths

if TYPE_CHECKING:
    from harness.engine.launch import Execution

PATH = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)
NATURAL = click.IntRange(min=0)
DTYPE = click.Choice(["float32", "bfloat16", "float16"])
DEVICE = click.Choice(["auto", "cpu", "cuda"])
PAIR = "NAME=VALUE"

DEADLINE_SECONDS = 900.0
"""Far beyond any batch of a working GPU; a hang costs a quarter of an hour of one worker."""

Command = TypeVar("Command", bound=Callable[..., Any])


def pairs(flag: str, name: str, help: str, metavar: str = PAIR) -> Callable[[Command], Command]:
    """Return an option that may be given several times; the command gets a dict."""

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


def _named_metrics(
    context: click.Context, parameter: click.Parameter, given: str | None
) -> tuple[str, ...]:
    names = words(context, parameter, given)
    if given is not None and not names:
        raise UsageError("--metrics names none", "leave it out; `ls metrics` lists them")
    return names


metrics_option = click.option(
    "--metrics", callback=_named_metrics, metavar="NAME[=REF],…",
    help="Measure every image by these too; they never steer a search. `ls metrics` lists them.",
)  # fmt: skip


def _installed_trackers(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...]:
    if given:
        from harness.tracking import check_trackers

        check_trackers(given)
    return tuple(dict.fromkeys(given))


track_option = click.option(
    "--track", type=click.Choice(["wandb", "mlflow", "tensorboard"]), multiple=True,
    callback=_installed_trackers,
    help="Show the progress in this tracker too; one that fails changes nothing.",
)  # fmt: skip

reuse_option = click.option(
    "--reuse", type=RunFolder.existing, multiple=True, metavar="RUN",
    help="A run whose draws are not made again where this one asks for the same.",
)  # fmt: skip


separate_seeds_option = click.option(
    "--separate-seeds", is_flag=True,
    help="Keep runs apart that differ in nothing but their seed, instead of pooling them.",
)  # fmt: skip


def plugins_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --plugins, without which nothing is imported that a manifest names by import path."""

    @functools.wraps(command)
    def guarded(*, plugins: bool, **options: Any) -> Any:
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
        return command(price=Price(hour, million_tokens), **options)

    tokens = click.option("--token-price", "million_tokens", type=amount, metavar="MONEY",
                          help="Of a million tokens of a judge at an endpoint.")  # fmt: skip
    hours = click.option("--price", "hour", type=amount, metavar="MONEY",
                         help="Of a device-hour: what the runs cost is printed.")  # fmt: skip
    return hours(tokens(gathered))


_EXECUTION = {
    "executor": click.option(
        "--executor", type=click.Choice(["auto", "inline", "ray"]), default="auto",
        help="Where models run; auto: Ray where there are GPUs, an address or several workers, "
        "else this process."),
    "workers": click.option("--workers", type=COUNT, default=1, help="Ray actors of each role."),
    "gpu_share": pairs("--gpu-share", "gpu_share", metavar="ROLE=GPUS",
                       help="GPUs an actor of a role holds, such as generator=1."),
    "address": click.option("--address", metavar="ADDRESS", help="An existing Ray cluster's."),
    "deadline": click.option(
        "--deadline", type=click.FloatRange(0, 1e6), default=DEADLINE_SECONDS, metavar="SECONDS",
        help="Longest that a batch may take, a worker's first one three times as long; Ray actors "
        "that take longer are killed and replaced, this process ends. 0: no limit."),
    "device": click.option("--device", type=DEVICE, default="auto"),
}  # fmt: skip
"""The options that say where work is done."""


def execution_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where work is done, which the command gets as one `execution`."""

    @functools.wraps(command)
    def gathered(**options: Any) -> Any:
        execution = {name: options.pop(name) for name in _EXECUTION}
        return command(execution=execution, **options)

    return functools.reduce(lambda made, add: add(made), reversed(_EXECUTION.values()), gathered)


def resolve(
    *, gpu_share: dict[str, str], address: str | None, device: str, deadline: float, **where: Any
) -> Execution:
    """The execution that the options describe; "auto" takes a GPU where there is one.

    Raises:
        UsageError: A GPU was asked for and there is none, or a share or deadline makes no sense.
    """
    from harness.engine.devices import chosen_device, has_gpu
    from harness.engine.executors.base import Patience
    from harness.engine.launch import Execution

    if math.isnan(deadline):
        raise UsageError("--deadline takes a number of seconds, got 'nan'", "0 is no limit")
    shares = by_role(gpu_share, "--gpu-share")
    for role, share in shares.items():
        if not 0 <= share <= 64:
            raise UsageError(f"--gpu-share {role} must be between 0 and 64, got {share:g}")
    device = chosen_device(device, address)
    cluster = address or os.environ.get("RAY_ADDRESS")
    if any(shares.values()) and device != "cuda" and not has_gpu(cluster):
        raise UsageError(
            f"--gpu-share: there is no GPU {'on the cluster' if cluster else 'here'} to share",
            "leave it out, or give a cluster that has GPUs with --address",
        )
    patience = Patience.of(deadline)
    return Execution(gpu_share=shares, address=address, device=device, patience=patience, **where)
