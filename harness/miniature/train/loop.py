"""The training loop that all stages share: seeded, resumable, with averaged weights.

Promise: a run that was interrupted and resumed ends with the weights of one that was not.
Everything random in a step comes from the step's own seed, and a checkpoint holds weights, average,
optimiser state and step, so nothing else needs to be remembered. (On one kind of machine with as
many threads; floating point gives no more than that.)
"""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import click
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel

from harness.log.files import write_json
from harness.miniature import WORLDS, World


@dataclass(frozen=True)
class Schedule:
    """The length and the learning rate of a stage's training.

    Attributes:
        steps: Optimiser steps in all.
        batch: Rows a step.
        lr: Peak learning rate of AdamW.
        warmup: Steps of linear warm-up.
        cooldown: Share of the steps, at the end, over which the rate falls linearly to zero.
        weight_decay: AdamW's, for matrices only.
        ema: Decay of the running average of the weights, which is what gets exported.
        clip: Largest norm of the gradient.
    """

    steps: int
    batch: int
    lr: float
    warmup: int = 100
    cooldown: float = 0.25
    weight_decay: float = 0.01
    ema: float = 0.999
    clip: float = 1.0

    def rate(self, step: int) -> float:
        """The learning rate of a step, as a share of the peak."""
        tail = max(1.0, self.cooldown * self.steps)
        return min(1.0, (step + 1) / max(1, self.warmup), (self.steps - step) / tail)


@dataclass(frozen=True)
class TrainConfig:
    """The command line's options for every stage.

    Attributes:
        work: Folder for checkpoints and pools; outside of the package.
        out: Folder of the exported weights; a stage writes one folder in it.
        device: Torch device.
        seed: Seed of data and training.
        scale: Factor on every stage's steps and pool sizes; below 1 for a trial run.
        compile: Whether to compile the heavy stages while they train (needs a C++ compiler).
        checkpoint_seconds: Time between checkpoints.
        start: Folder of a trained text encoder and transformer that the base goes on from.
        habits: Whether the base's pictures have habits (`harness.miniature.habits`).
    """

    work: Path
    out: Path
    device: str = "cpu"
    seed: int = 0
    scale: float = 1.0
    compile: bool = False
    checkpoint_seconds: float = 180.0
    start: Path | None = None
    habits: bool = True

    @property
    def world(self) -> World:
        """The world that the base's pictures are of."""
        return WORLDS["habits" if self.habits else "even"]

    @property
    def denoiser(self) -> Path:
        """The folder of the base's text encoder and transformer, the autoencoder being shared."""
        return self.world.components_in(self.out) or self.out / "base"

    def count(self, full: int) -> int:
        """A number of steps or scenes at this setting's scale."""
        return max(1, round(full * self.scale))


def averaged(module: nn.Module, decay: float) -> AveragedModel:
    """A running average of a module's weights and of its batch statistics; counters are copied.

    Update number n takes in 1 - min(decay, n / (n + 9)) of the module's present state, so that
    the start is soon forgotten.
    """

    @torch.no_grad()
    def update(averages: PARAM_LIST, present: PARAM_LIST, number: Tensor | int) -> None:
        if averages[0].is_floating_point():
            n = int(number)
            torch._foreach_lerp_(averages, present, 1 - min(decay, n / (n + 9)))
        else:
            torch._foreach_copy_(averages, present)

    average = AveragedModel(module, multi_avg_fn=update, use_buffers=True)
    average.n_averaged.fill_(1)  # the weights at the start count, too
    return average


def fit(
    module: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    rows: int,
    schedule: Schedule,
    setting: TrainConfig,
    name: str,
    *,
    measure: Callable[[], dict[str, float]] | None = None,
) -> dict[str, Any]:
    """Train a module, from its last checkpoint if there is one; leave it with averaged weights.

    Args:
        module: What is trained, already on its device.
        loss_of: Loss of a batch, given the rows' indices into the stage's pool, int64 (batch,).
            Randomness is to be taken from torch's default generators, which are seeded by the step.
        rows: Rows in the pool.
        schedule: How long and how fast.
        setting: Seed, folders, device.
        name: The stage's name; its checkpoint is ``work/name.pt``.
        measure: The held-out metric, run with averaged weights when the training is a half done
            and at every checkpoint after.

    Returns:
        The recipe: settings and versions, seconds over all interruptions, and the mean loss of each
        100 steps.

    Raises:
        KeyboardInterrupt: An interrupt or SIGTERM came before the last step; the checkpoint is
            written first.
    """
    file = setting.work / f"{name}.pt"
    matrices = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": schedule.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=schedule.lr,
        betas=(0.9, 0.99),
    )
    average = averaged(module, schedule.ema)
    step, seconds, total = 0, 0.0, 0.0
    losses: list[float] = []
    if file.exists():
        saved: dict[str, Any] = torch.load(file, map_location=setting.device, weights_only=True)
        module.load_state_dict(saved["module"])
        average.module.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        step, seconds = saved["step"], saved["seconds"]
        losses, total = saved["losses"], saved["total"]
        average.n_averaged.fill_(step + 1)
        click.echo(f"{name}: resumed at step {step} of {schedule.steps} from {file}")

    def save() -> None:
        state = {
            "module": module.state_dict(), "average": average.module.state_dict(),
            "optimiser": optimiser.state_dict(), "step": step, "seconds": seconds,
            "losses": losses, "total": total,
        }  # fmt: skip
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".part")
        torch.save(state, partial)
        os.replace(partial, file)

    stopping: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopping.append(number)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    last_save = last_shown = time.monotonic()
    shown, running = step, float("nan")
    module.train()
    try:
        while step < schedule.steps and not stopping:
            start = time.monotonic()
            torch.manual_seed(setting.seed * 1_000_003 + step)
            for group in optimiser.param_groups:
                group["lr"] = schedule.lr * schedule.rate(step)
            loss = loss_of(torch.randint(rows, (schedule.batch,)))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(module.parameters(), schedule.clip)
            optimiser.step()
            average.update_parameters(module)
            value = float(loss.detach())
            if math.isnan(value):
                raise FloatingPointError(f"{name}: the loss is not a number at step {step}")
            running = value if math.isnan(running) else 0.98 * running + 0.02 * value
            step += 1
            total += value
            if step % 100 == 0 or step == schedule.steps:
                losses.append(total / (step % 100 or 100))
                total = 0.0
            now = time.monotonic()
            seconds += now - start
            if now - last_shown > 20 or step == schedule.steps:
                speed = (step - shown) * schedule.batch / (now - last_shown)
                click.echo(f"{name}: step {step}/{schedule.steps}  loss {running:.4f}  "
                           f"{speed:.0f} rows/s  {seconds:.0f} s")  # fmt: skip
                shown, last_shown = step, now
            if now - last_save > setting.checkpoint_seconds:
                save()
                if measure is not None and 2 * step > schedule.steps:
                    own = copy.deepcopy(module.state_dict())
                    module.load_state_dict(average.module.state_dict())
                    module.eval()
                    click.echo(f"{name}: held out {json.dumps(measure())}")
                    module.load_state_dict(own)
                    module.train()
                last_save = last_shown = time.monotonic()
                shown = step
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    save()
    if step < schedule.steps:
        click.echo(f"{name}: stopped at step {step} of {schedule.steps}; run it again to go on")
        raise KeyboardInterrupt
    module.load_state_dict(average.module.state_dict())
    module.eval()
    return {
        "seed": setting.seed, "device": setting.device, "threads": torch.get_num_threads(),
        "torch": torch.__version__, "schedule": asdict(schedule),
        "training_seconds": round(seconds, 1), "losses": [round(loss, 5) for loss in losses],
    }  # fmt: skip


def bfloat16(device: str) -> torch.autocast:
    """Compute in bfloat16 where that loses nothing."""
    return torch.autocast(torch.device(device).type, torch.bfloat16)


def cached(file: Path, make: Callable[[], Any]) -> Any:
    """Return the tensors that a file of the work folder holds; they are made once."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(make(), file)
    return torch.load(file, weights_only=True)


def write_recipe(folder: Path, recipe: Mapping[str, Any], **facts: object) -> None:
    """Write how a folder's weights came about (see `fit`), with the stage's own facts, as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "recipe.json", {**recipe, **facts})
