"""The draws that a strategy asks for and a log lacks, in words."""

from __future__ import annotations

from collections.abc import Mapping

from harness.analysis.logged_trajectories import RENOISED
from harness.engine.searches import SearchKey
from harness.errors import HarnessError, UsageError
from harness.log.run_folder import RunFolder
from harness.replay import MissingDraw, Replayed

LISTED = 3
"""Missing draws that a message names."""


class LacksDraws(HarnessError):
    """The log does not hold all draws that a strategy asks for."""


def check_complete(
    folder: RunFolder, strategy: str, budget: int, results: Mapping[SearchKey, Replayed]
) -> None:
    """See that a log holds all draws that a strategy asked for.

    Args:
        folder: The run's.
        strategy: The strategy's name.
        budget: Its budget.
        results: Its searches.

    Raises:
        UsageError: Some are branches, which no other strategy's log holds.
        LacksDraws: Some are missing.
    """
    missing_draws = {key: result.missing for key, result in results.items() if result.missing}
    if not missing_draws:
        return
    draws = [(key, draw) for key, missing in missing_draws.items() for draw in missing]
    listed = "; ".join(_sentence(key, draw) for key, draw in draws[:LISTED])
    more = f"; and {len(draws) - LISTED} more" if len(draws) > LISTED else ""
    if any(RENOISED in draw.differing for _, draw in draws):
        raise UsageError(
            f"strategy '{strategy}' takes trajectories back in noise on their way; such branches "
            f"hang on its own choices, and those of {folder.path} are others: {listed}{more}",
            "run it, with --reuse for the draws that it has in common with a run",
        )
    raise LacksDraws(
        f"the log of {folder.path} cannot say: in {len(missing_draws)} of {len(results)} searches "
        f"'{strategy}' with a budget of {budget} asks for draws that it lacks: {listed}{more}",
        f"make those draws: python -m harness run --strategy {strategy} --budget {budget} "
        f"--reuse {folder.path}, with the run's other options",
    )


def _sentence(key: SearchKey, draw: MissingDraw) -> str:
    name = f"{draw.kind} {draw.index} of prompt {key.prompt_id}, replicate {key.replicate}"
    return f"{name} ({draw.differing})" if draw.differing else name
