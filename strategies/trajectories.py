"""The common part of strategies that stop draws on their way: places on a trajectory, going on."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import AfterValidator

from harness.records import Candidate, Draw, Start


def readable_by(parse: Callable[[str], object]) -> AfterValidator:
    """Return the check of an option's text, which is kept as given: a function can read it."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


def step_at(share: float, steps: int) -> int:
    """Return the step, at least the first, that a share above 0 of a trajectory ends with."""
    return min(max(1, round(share * steps)), steps)


def stop_at(step: int, steps: int) -> int | None:
    """Return what a draw's `stop` is for a step: None for the last one."""
    return None if step >= steps else step


def continued(
    candidate: Candidate, index: int, step: int, steps: int, renoise: int | None = None
) -> Draw:
    """Return the draw that goes on from where a candidate stopped to a step.

    With `renoise`, its state is taken back first to the noise level of that step.
    """
    return Draw(index, start=Start(candidate.id, renoise), stop=stop_at(step, steps))
