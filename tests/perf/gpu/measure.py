"""All that is to be known of a GPU before a run on it, measured in minutes without a download.

Models have the published sizes and random weights, drawn on the device: speed, memory and whether
bits depend on a row's neighbours do not hang on what weights say. Only parity takes the bundled
miniature, whose pictures and verdicts mean something. Every part is a process with a time limit of
its own, and what it measured before it failed stays.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.doctor import facts
from harness.engine.devices import device_name
from harness.errors import UsageError, did_you_mean
from harness.log.environment import environment
from harness.log.files import write_atomically
from tests.perf.gpu import measurements
from tests.perf.gpu.parts import Part, run_part
from tests.sizes import Scale

VERSION = 1
"""Of the file that a measurement is written to."""


@dataclass(frozen=True)
class Measurement:
    """A part, its further arguments, and the seconds after which it is killed."""

    part: Part
    limit: float
    arguments: tuple[Any, ...] = ()


PARTS = {
    "doctor": Measurement(measurements.doctor, 60),
    "parity": Measurement(measurements.parity, 60),
    "sana": Measurement(measurements.generation, 90, ((0,),)),
    "reflect-dit": Measurement(measurements.generation, 90, ((3, 1, 2),)),
    "judge": Measurement(measurements.judging, 90),
    "scorer": Measurement(measurements.scoring, 60),
    "invariance": Measurement(measurements.invariance, 60),
    "overlap": Measurement(measurements.overlap, 120),
    "networks": Measurement(measurements.networks, 120, (0,)),
    "networks with feedback": Measurement(measurements.networks, 120, (3,)),
}
"""In the order in which they are measured. By estimate they take five minutes together on a GPU of
the H100's class, most of it loading and compiling."""

LIMIT = 570.0
"""Seconds for all parts together: within ten minutes there is a file with all that was measured."""


def measure_gpu(
    scale: Scale,
    device: str,
    out: Path,
    *,
    parts: Sequence[str] = (),
    limit: float = LIMIT,
    observe: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure a device, and write the file anew after every part.

    Args:
        scale: Sizes of the models.
        device: A torch device.
        out: The JSON file.
        parts: Names of `PARTS`; all by default.
        limit: Seconds for all of them together.
        observe: Gets a line a part.

    Returns:
        What was written.

    Raises:
        UsageError: There is no such part.
        HarnessError: The file cannot be written.
    """
    for name in parts:
        if name not in PARTS:
            raise UsageError(f"there is no part '{name}'", did_you_mean(name, PARTS))
    began = time.monotonic()
    content: dict[str, Any] = {
        "version": VERSION,
        "device": device_name(device),
        "scale": scale.name,
        "steps": scale.steps,
        "side": scale.side,
        "facts": dict(facts()),
        "environment": environment(),
        "parts": {},
    }
    for name in parts or PARTS:
        one = PARTS[name]
        left = max(0.0, limit - (time.monotonic() - began))
        outcome = run_part(one.part, min(one.limit, left), scale, device, *one.arguments)
        content["parts"][name] = outcome.as_json()
        content["seconds"] = time.monotonic() - began
        write_atomically(out, (json.dumps(content, indent=2) + "\n").encode())
        failed = sum("error" in row for row in outcome.rows)
        ending = outcome.error or (f"{failed} measurements failed" if failed else "done")
        observe(f"{name}: {len(outcome.rows)} measurements in {outcome.seconds:.0f} s, {ending}")
    return content
