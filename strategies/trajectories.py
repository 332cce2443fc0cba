"""The common part of strategies that stop draws on their way: places on a trajectory, going on."""

from __future__ import annotations

from harness.records import Candidate, Draw, Start


def step_at(share: float, steps: int) -> int:
    """Return the step that a share of a trajectory ends with, at least the first.

    Args:
        share: Of the steps, above 0.
        steps: Of a whole draw.
    """
    return min(max(1, round(share * steps)), steps)


def stop_at(step: int, steps: int) -> int | None:
    """Return what a draw's `stop` is for a step: None for the last one."""
    return None if step >= steps else step


def continued(
    candidate: Candidate, index: int, step: int, steps: int, renoise: int | None = None
) -> Draw:
    """Return the draw that goes on from where a candidate stopped.

    Args:
        candidate: A preview.
        index: Of the new draw.
        step: Where it stops.
        steps: Of a whole draw.
        renoise: Step to whose noise level the state is taken back first, or None.
    """
    return Draw(index, start=Start(candidate.id, renoise), stop=stop_at(step, steps))
