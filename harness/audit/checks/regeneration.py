"""Claim: the images follow from the checkpoints, prompts, seeds and feedback in the log.

A seeded sample is made again and its pixel digests compared: bit for bit where the versions and
the device are those of the run. Elsewhere last bits may differ; then a kept image decides, by
PSNR and the largest difference of a pixel. The tolerances are chosen, not measured. A run whose
images are not here is held to their digests alone. The draws that a chosen one has feedback on have
to be made for it, and so are held to the log as well.
"""

from __future__ import annotations

from harness.audit.audited_run import AuditedRun, named_draw
from harness.audit.regenerator import Regenerator, sample, shared_regenerator
from harness.audit.result import CannotCheck, Problems, Result, Status, concluded, count
from harness.audit.tolerance import (
    LARGEST_DIFFERENCE,
    LEAST_PSNR,
    image_distance,
    machine_differences,
)
from harness.log.images import decode
from harness.records import Role

MOST_FAILED = 8
"""Draws logged as failed that are tried again."""


def check(run: AuditedRun) -> Result:
    """Make a sample of draws again."""
    if run.imported:
        raise CannotCheck("the images were made elsewhere, nobody knows how")
    if not run.options.regenerate:
        raise CannotCheck("not asked for (--regenerate)")
    chosen = sample(run, run.options.regenerate, "regenerate")
    if not chosen:
        raise CannotCheck("no draw has an image")
    regenerator = shared_regenerator(run)
    regenerator.regenerate(chosen)
    if not any(one.row["draw_id"] in regenerator.made for one in chosen):
        raise CannotCheck(f"the generator fails here: {next(iter(regenerator.failed.values()))}")
    reasons = machine_differences(run)
    problems = Problems()
    exact = near = unknown = 0
    for row in regenerator.rows.values():
        name = named_draw(row)
        made = regenerator.made.get(row["draw_id"])
        if made is None:
            problems.add(f"{name} cannot be made: {regenerator.failed[row['draw_id']]}")
            continue
        if made.cost.nfe != row["generator_nfe"]:
            problems.add(f"{name} takes {made.cost.nfe} NFE, logged are {row['generator_nfe']}")
        if made.digest == row["image"]:
            exact += 1
            continue
        if row["image"] is None:
            problems.add(f"{name} was given as feedback, and has no image")
            continue
        png = run.image(row["image"])
        distance = image_distance(decode(png), decode(made.png)) if png is not None else None
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
    if len(regenerator.rows) > len(chosen):
        looked += f", {len(regenerator.rows) - len(chosen)} more of their chains"
    evidence = [f"{exact} bitwise, {near} within tolerance"]
    if unknown:
        evidence.append(f"{unknown} differ and have no image here to measure how much")
    evidence += _failures(run, regenerator)
    evidence += reasons or ["versions and device are the run's: bitwise is asked for"]
    well = Status.NOT_APPLICABLE if unknown else Status.PASS
    return concluded(looked, problems, evidence, well)


def _failures(run: AuditedRun, regenerator: Regenerator) -> list[str]:
    """Try draws again that are logged as failed, and count those that come out well.

    That one comes out well proves nothing, since memory may have been short; but somebody who
    wants a draw out of the way could say that it failed, so the reader is told.
    """
    failed = sample(
        run, MOST_FAILED, "failed", lambda row: bool(row["error_role"] == Role.GENERATOR)
    )
    if not failed:
        return []
    regenerator.regenerate(failed)
    well = sum(one.row["draw_id"] in regenerator.made for one in failed)
    return [f"{well} of {count(len(failed), 'draw')} logged as failed come out well here"]
