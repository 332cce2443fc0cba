"""Claim: the images follow from the checkpoints, prompts, seeds and feedback in the log.

A seeded sample is made again and its pixel digests compared: bit for bit where the versions and
the device are those of the run. Elsewhere last bits may differ; then a kept image decides, by
PSNR and the largest difference of a pixel. The tolerances are chosen, not measured. A run whose
images are not here is held to their digests alone. The draws that a chosen one has feedback on have
to be made for it, and so are held to the log as well.
"""

from __future__ import annotations

import numpy as np

from harness.audit import remade
from harness.audit.remade import Remaker, sample, sample_failed
from harness.audit.result import CannotCheck, Problems, Result, Status, concluded, count
from harness.audit.subject import Subject, named
from harness.engine.devices import device_name
from harness.engine.searches import SearchKey
from harness.log.environment import NUMERIC, device_names, other_versions
from harness.log.images import decode
from harness.records import Image

NAME = "regeneration"

LEAST_PSNR = 35.0
"""dB, between an image and the same draw made on another device or version."""

LARGEST_DIFFERENCE = 64
"""Of 255, of any pixel's channel, likewise."""

MOST_FAILED = 8
"""Draws logged as failed that are tried again."""


def check(subject: Subject) -> Result:
    """Make a sample of draws again."""
    if subject.foreign:
        raise CannotCheck("the images were made elsewhere, nobody knows how")
    if not subject.options.regenerate:
        raise CannotCheck("not asked for (--regenerate)")
    chosen = sample(subject, subject.options.regenerate, "regenerate")
    if not chosen:
        raise CannotCheck("no draw has an image")
    remaker = remade.remaker(subject)
    remaker.make(chosen)
    if not any(one.row["draw_id"] in remaker.made for one in chosen):
        raise CannotCheck(f"the generator fails here: {next(iter(remaker.failed.values()))}")
    reasons = elsewhere(subject)
    problems = Problems()
    exact = near = unknown = 0
    for row in remaker.rows.values():
        name = named(SearchKey(row["prompt_id"], row["replicate"]), row["draw_index"])
        made = remaker.made.get(row["draw_id"])
        if made is None:
            problems.add(f"{name} cannot be made: {remaker.failed[row['draw_id']]}")
            continue
        if made.cost.nfe != row["generator_nfe"]:
            problems.add(f"{name} takes {made.cost.nfe} NFE, logged are {row['generator_nfe']}")
        if made.digest == row["image"]:
            exact += 1
            continue
        if row["image"] is None:
            problems.add(f"{name} was given as feedback, and has no image")
            continue
        png = subject.image(row["image"])
        distance = apart(decode(png), decode(made.png)) if png is not None else None
        measured = (
            f": PSNR {distance[0]:.1f} dB, largest difference {distance[1]}" if distance else ""
        )
        if not reasons:
            problems.add(f"{name} comes out otherwise{measured}")
        elif png is None:
            unknown += 1
        elif distance is None or distance[0] < LEAST_PSNR or distance[1] > LARGEST_DIFFERENCE:
            problems.add(f"{name} is beyond tolerance{measured}")
        else:
            near += 1
    chains = sum(bool(one.row["feedback"]) for one in chosen)
    looked = f"{count(len(chosen), 'draw')}, {chains} with feedback"
    if len(remaker.rows) > len(chosen):
        looked += f", {len(remaker.rows) - len(chosen)} more of their chains"
    evidence = [f"{exact} bitwise, {near} within tolerance"]
    if unknown:
        evidence.append(f"{unknown} differ and have no image here to measure how much")
    evidence += _failures(subject, remaker)
    evidence += reasons or ["versions and device are the run's: bitwise is asked for"]
    if unknown and not problems:
        return Result(NAME, looked, Status.NOT_APPLICABLE, tuple(evidence))
    return concluded(NAME, looked, problems, evidence)


def _failures(subject: Subject, remaker: Remaker) -> list[str]:
    """Whether draws that are said to have failed do so here.

    That one comes out well proves nothing, since memory may have been short; but somebody who
    wants a draw out of the way could say that it failed, so the reader is told.
    """
    failed = sample_failed(subject, MOST_FAILED)
    if not failed:
        return []
    remaker.make(failed)
    well = sum(one.row["draw_id"] in remaker.made for one in failed)
    return [f"{well} of {count(len(failed), 'draw')} logged as failed come out well here"]


def elsewhere(subject: Subject) -> list[str]:
    """Why bits may differ here: other versions, another device than in the manifest."""
    manifest = subject.manifest
    differing = other_versions(manifest.environment, manifest.sessions)
    reasons = [f"{name} {how}" for name, how in differing.items() if name in NUMERIC]
    devices = device_names(manifest.sessions)
    here = device_name(subject.options.device)
    if devices != {here}:
        reasons.append(f"it was made on {', '.join(sorted(devices)) or 'nobody knows what'}, "
                       f"this is {here}")  # fmt: skip
    return reasons


def apart(one: Image, other: Image) -> tuple[float, int] | None:
    """PSNR in dB (peak 255) and largest difference of two images; None if shapes differ."""
    if one.shape != other.shape:
        return None
    difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
    squared = float((difference**2).mean())
    psnr = float("inf") if squared == 0 else 10 * float(np.log10(255**2 / squared))
    return psnr, int(difference.max())
