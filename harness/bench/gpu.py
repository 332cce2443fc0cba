"""Full-size models with random weights: images/s, memory, and which role takes what share.

First SANA as `bench engine` measures it; then a whole run of Reflect-DiT's search with its judge
and scorer, all three on one device in one process. A random judge accepts nothing, or nearly, so
every search spends its budget: the dearest case.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bench.engine import Measured, measure
from harness.bench.random_models import write_models
from harness.bench.sizes import Scale
from harness.engine.launch import Execution, totals, work
from harness.log.run_folder import RunFolder
from harness.plan import Ask, plan
from harness.records import Role


@dataclass(frozen=True)
class OnDevice:
    """What was measured.

    Attributes:
        sana: SANA alone and with the judge, batches against one at a time.
        draws: Of the Reflect-DiT run.
        seconds: What each role of that run took a draw.
        memory_bytes: The most GPU memory held, all models together; 0 on a CPU.
    """

    sana: Measured
    draws: int
    seconds: dict[Role, float]
    memory_bytes: int


def measure_gpu(
    folder: Path,
    scale: Scale,
    *,
    device: str,
    prompts: int,
    budget: int,
    rounds: int,
    batch_size: int | None = None,
    compiled: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> OnDevice:
    """Write the models if need be, and measure.

    Args:
        folder: Where checkpoints are kept between calls.
        scale: How large.
        device: A torch device.
        prompts: How many.
        budget: Draws of each.
        rounds: Of SANA's sides.
        batch_size: Of the generator, if not the suite's.
        compiled: Whether SANA's denoiser goes through `torch.compile`.
        say: Called with what is done next.

    Raises:
        HarnessError: A model cannot be loaded, or fails.
    """
    sana, reflect = write_models(
        folder, scale, device=device, observe=lambda part: say(f"drawing weights: {part}")
    )
    asked: dict[str, Any] = {
        "limit": prompts, "budget": budget, "batch_size": batch_size, "device": device,
    }  # fmt: skip
    say("measuring SANA")
    ready = plan(Ask(model=str(sana), **asked))
    sides = measure(ready, rounds=rounds, device=device, with_ray=False, compiled=compiled)
    say("running Reflect-DiT")
    chain = plan(Ask(model=str(reflect), strategy="reflect", keep_images="none", **asked))
    _forget_peak(device)
    with tempfile.TemporaryDirectory() as temporary:
        run = RunFolder(Path(temporary) / "run")
        work(chain, Execution(executor="inline", device=device), run, command="bench")
        found = totals(run, judged=chain.config.judged)
    draws = found["draws"]
    return OnDevice(
        sana=sides,
        draws=draws,
        seconds={role: found[f"{role}_device_seconds"] / draws for role in Role},
        memory_bytes=_peak(device),
    )


def _forget_peak(device: str) -> None:
    if device.startswith("cuda"):
        import gc

        import torch

        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: str) -> int:
    if not device.startswith("cuda"):
        return 0
    import torch

    return int(torch.cuda.max_memory_allocated(device))
