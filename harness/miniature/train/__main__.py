"""``python -m harness.miniature.train``: make the miniature's weights from rendered scenes."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.engine.threads import patient_threads
from harness.errors import HarnessError
from harness.miniature import WEIGHTS
from harness.miniature.glyphs import font_path
from harness.miniature.train.loop import TrainConfig

STAGES = (
    "autoencoder",
    "base",
    "detector",
    "judge",
    "colors",
    "judge_colors",
    "vision",
    "reflect",
)


def run_stage(name: str, setting: TrainConfig) -> None:
    """Train one stage; the import is here because torch is slow to load."""
    from importlib import import_module

    import_module(f"harness.miniature.train.{name}").train(setting)


@click.group()
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@click.option("--seed", default=0, show_default=True, help="Seed of data and training.")
@click.option("--threads", type=int, default=None, help="CPU threads; all of them by default.")
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("miniature-training"),
    show_default=True,
    help="Checkpoints; delete it to start afresh.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=WEIGHTS,
    show_default="the package's weights",
    help="Where the trained models go.",
)
@click.option("--scale", default=1.0, show_default=True, help="Factor on steps and data.")
@click.option("--compile/--no-compile", default=False, help="Faster; needs a C++ compiler.")
@click.option(
    "--start",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=None,
    help="Trained text encoder and transformer that the base goes on from; name another --seed, "
    "for other scenes.",
)
@click.option(
    "--habits/--even",
    default=True,
    show_default=True,
    help="World of the base's pictures: with habits, or with independent failures.",
)
@click.pass_context
def main(
    context: click.Context,
    device: str,
    seed: int,
    threads: int | None,
    work: Path,
    out: Path,
    scale: float,
    compile: bool,
    start: Path | None,
    habits: bool,
) -> None:
    """Train the miniature's models from rendered scenes.

    A stage that is interrupted goes on from its last checkpoint when it is run again.
    """
    font_path()
    patient_threads()
    import torch

    if threads:
        torch.set_num_threads(threads)
    context.obj = TrainConfig(work, out, device, seed, scale, compile, start=start, habits=habits)


def _add(name: str) -> None:
    @main.command(name, help=f"Train the stage {name!r}.")
    @click.pass_obj
    def stage(setting: TrainConfig) -> None:
        run_stage(name, setting)


for _name in STAGES:
    _add(_name)


@main.command("all")
@click.pass_obj
def train_all(setting: TrainConfig) -> None:
    """Train all stages, one after the other; finished ones are only exported again."""
    for name in STAGES:
        run_stage(name, setting)


if __name__ == "__main__":
    try:
        main()
    except HarnessError as error:
        click.echo(f"error: {error.message}\nhint: {error.hint}", err=True)
        sys.exit(error.exit_code)
