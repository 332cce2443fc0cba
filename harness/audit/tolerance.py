"""Tolerances on another device or version than a run's, and whether this is one.

The tolerances are chosen, not measured.
"""

from __future__ import annotations

import numpy as np

from harness.audit.audited_run import AuditedRun
from harness.engine.devices import device_name
from harness.log.environment import NUMERIC, device_names, other_versions
from harness.records import Image

LEAST_PSNR = 35.0
"""dB, between an image and the same draw made on another device or version."""

LARGEST_DIFFERENCE = 64
"""Of 255, of any pixel's channel, likewise."""


def machine_differences(run: AuditedRun) -> list[str]:
    """Return why bits may differ here: other versions, another device than in the manifest."""
    manifest = run.manifest
    differing = other_versions(manifest.environment, manifest.sessions)
    reasons = [f"{name} {how}" for name, how in differing.items() if name in NUMERIC]
    devices = device_names(manifest.sessions)
    device = device_name(run.options.device)
    if devices != {device}:
        reasons.append(f"it was made on {', '.join(sorted(devices)) or 'nobody knows what'}, "
                       f"this is {device}")  # fmt: skip
    return reasons


def image_distance(one: Image, other: Image) -> tuple[float, int] | None:
    """PSNR in dB (peak 255) and largest difference of two images; None if shapes differ."""
    if one.shape != other.shape:
        return None
    difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
    squared = float((difference**2).mean())
    psnr = float("inf") if squared == 0 else 10 * float(np.log10(255**2 / squared))
    return psnr, int(difference.max())
