"""`doctor`: what this machine can do, and whether it does it right."""

from __future__ import annotations

import click

from harness.cli.options import DEVICE


@click.command()
@click.option("--device", type=DEVICE, default="auto", help="Where the scorers are checked.")
@click.option("--address", metavar="ADDRESS", help="A Ray cluster to look at.")
def doctor(device: str, address: str | None) -> int:
    """Print processors, memory, GPUs, versions and checkpoints, and check the scorers.

    Every scorer and every judge with a detector, as far as their checkpoints are here, answers
    a fixed question on the device (on every GPU) and on the CPU, and judges its images with
    known answers. Exits with 1 if the answers differ or are wrong, or a check fails otherwise;
    a checkpoint that is merely not here is no failure.
    """
    from harness.doctor import check_mmdet, check_ray, check_suites, devices_of, facts
    from harness.engine.devices import chosen_device

    for name, value in facts():
        click.echo(f"{name:<10} {value}")
    devices = devices_of(chosen_device(device))
    click.echo(f"checking scorers and judges on {', '.join(devices)} …", err=True)
    checks = [check_ray(address), check_mmdet(), *check_suites(devices)]
    for check in checks:
        word = {True: "ok", False: "FAILED", None: "-"}[check.ok]
        click.echo(f"{word:<7} {check.name}: {check.detail}")
        if check.hint and check.ok is False:
            click.echo(f"        hint: {check.hint}")
    return 1 if any(check.ok is False for check in checks) else 0
