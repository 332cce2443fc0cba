"""The options that say where work is done; `run` and `resume` share them."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from harness.cli.kinds import COUNT, DEVICE, by_role, pairs, words
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.engine.launch import Execution

DEADLINE_SECONDS = 900.0
"""Far beyond any batch of a working GPU; a hang costs a quarter of an hour of one worker."""

_NAMES = ("executor", "workers", "gpu_share", "address", "device", "deadline")


def metrics_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--metrics`, which the command gets as a tuple of "NAME" or "NAME=REF"."""

    def named(
        context: click.Context, parameter: click.Parameter, given: str | None
    ) -> tuple[str, ...]:
        names = words(context, parameter, given)
        if given is not None and not names:
            raise UsageError("--metrics names none", "leave it out; `ls metrics` lists them")
        return names

    return click.option(
        "--metrics", callback=named, metavar="NAME[=REF],…",
        help="Measure every image by these too; they never steer a search. `ls metrics` lists "
        "them.",
    )(command)  # fmt: skip


def track_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--track`, which the command gets as a tuple of names, each checked to be installed."""

    def check(
        context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
    ) -> tuple[str, ...]:
        if given:
            from harness.tracking import check_trackers

            check_trackers(given)
        return tuple(dict.fromkeys(given))

    return click.option(
        "--track", type=click.Choice(["wandb", "mlflow", "tensorboard"]), multiple=True,
        callback=check,
        help="Show the progress in this tracker too; one that fails changes nothing.",
    )(command)  # fmt: skip


def execution_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets them as one dict, `execution`."""

    @functools.wraps(command)
    def gathered(**options: Any) -> Any:
        execution = {name: options.pop(name) for name in _NAMES}
        return command(execution=execution, **options)

    for option in reversed([
        click.option("--executor", type=click.Choice(["auto", "inline", "ray"]), default="auto",
                     help="Where models run; auto: Ray where there are GPUs, an address or several "
                     "workers, else this process."),
        click.option("--workers", type=COUNT, default=1, help="Ray actors of each role."),
        pairs("--gpu-share", "gpu_share", metavar="ROLE=GPUS",
              help="GPUs an actor of a role holds, such as generator=1."),
        click.option("--address", metavar="ADDRESS", help="An existing Ray cluster's."),
        click.option("--deadline", type=click.FloatRange(0, 1e6), default=DEADLINE_SECONDS,
                     metavar="SECONDS",
                     help="Longest that a batch may take, a worker's first one three times as "
                     "long; Ray actors that take longer are killed and replaced, this process "
                     "ends. 0: no limit."),
        click.option("--device", type=DEVICE, default="auto"),
    ]):  # fmt: skip
        gathered = option(gathered)
    return gathered


def resolve(options: dict[str, Any]) -> Execution:
    """The execution that the options describe; "auto" takes a GPU where there is one.

    Raises:
        UsageError: A GPU was asked for and there is none, or a share or deadline makes no sense.
    """
    from harness.engine.devices import chosen_device, has_gpu
    from harness.engine.executors.base import Patience
    from harness.engine.launch import Execution

    if math.isnan(options["deadline"]):
        raise UsageError("--deadline takes a number of seconds, got 'nan'", "0 is no limit")
    shares = by_role(options["gpu_share"], "--gpu-share")
    for role, share in shares.items():
        if not 0 <= share <= 64:
            raise UsageError(f"--gpu-share {role} must be between 0 and 64, got {share:g}")
    device = chosen_device(options["device"], options["address"])
    cluster = options["address"] or os.environ.get("RAY_ADDRESS")
    if any(shares.values()) and device != "cuda" and not has_gpu(cluster):
        raise UsageError(
            f"--gpu-share: there is no GPU {'on the cluster' if cluster else 'here'} to share",
            "leave it out, or give a cluster that has GPUs with --address",
        )
    return Execution(
        executor=options["executor"],
        workers=options["workers"],
        gpu_share=shares,
        address=options["address"],
        device=device,
        patience=Patience.of(options["deadline"]),
    )
