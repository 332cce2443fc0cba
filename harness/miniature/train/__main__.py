"""``python -m harness.miniature.train``: make the miniature's weights from rendered scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.engine.threads import patient_threads
from harness.miniature import WEIGHTS, explained
from harness.miniature.glyphs import font_path
from harness.miniature.train.loop import TrainConfig

STAGES = {
    "autoencoder": "autoencoder", "base": "base", "detector": "detector", "judge": "detector",
    "colors": "colors", "judge_colors": "colors", "vision": "vision", "reflect": "reflect",
}  # fmt: skip
"""By name: the module that trains it."""


def run_stage(name: str, setting: TrainConfig) -> None:
    """Train one stage; the import is here because torch is slow to load."""
    from importlib import import_module

    module: Any = import_module(f"harness.miniature.train.{STAGES[name]}")
    if name.startswith("judge"):
        module.train(setting, module.KEENER if setting.habits else module.JUDGE)
    else:
        module.train(setting)


FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group(context_settings={"show_default": True})
@click.option("--device", default="cpu", help="Torch device.")
@click.option("--seed", default=0, help="Seed of data and training.")
@click.option("--threads", type=int, default=None, help="CPU threads; all of them by default.")
@click.option("--work", type=FOLDER, default=Path("miniature-training"),
              help="Checkpoints; delete it to start afresh.")  # fmt: skip
@click.option("--out", type=FOLDER, default=WEIGHTS, show_default="the package's weights",
              help="Where the trained models go.")  # fmt: skip
@click.option("--scale", default=1.0, help="Factor on steps and data.")
@click.option("--compile/--no-compile", default=False, help="Faster; needs a C++ compiler.")
@click.option("--start", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Trained text encoder and transformer that the base goes on from; name another "
              "--seed, for other scenes.")  # fmt: skip
@click.option("--habits/--even", default=True,
              help="World of the base's pictures: with habits, or with independent "
              "failures.")  # fmt: skip
@click.pass_context
def main(context: click.Context, /, threads: int | None, **options: Any) -> None:
    """Train the miniature's models from rendered scenes.

    A stage that is interrupted goes on from its last checkpoint when it is run again.
    """
    font_path()
    patient_threads()
    import torch

    if threads:
        torch.set_num_threads(threads)
    context.obj = TrainConfig(**options)


for _name in STAGES:
    _run = click.pass_obj(lambda setting, name=_name: run_stage(name, setting))
    main.command(_name, help=f"Train the stage {_name!r}.")(_run)


@main.command("all")
@click.pass_obj
def train_all(setting: TrainConfig) -> None:
    """Train all stages, one after the other; finished ones are only exported again."""
    for name in STAGES:
        run_stage(name, setting)


if __name__ == "__main__":
    with explained():
        main()
