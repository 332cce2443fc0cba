"""Device-hours and money of runs, from what their logs say was spent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.analysis.logged_run import LoggedRun
from harness.analysis.summary import Summary, summarise
from harness.models.judges.chosen import is_remote


@dataclass(frozen=True)
class Price:
    """What is paid.

    Attributes:
        hour: For a device-hour; None if nobody said.
        million_tokens: For a million tokens of a judge at an endpoint; None likewise.
    """

    hour: float | None = None
    million_tokens: float | None = None


def spending(summaries: Iterable[Summary], price: Price) -> str:
    """Return the device-hours of some runs and what they cost, in words.

    Seconds that a judge at an endpoint was waited for are no device-hours: its tokens are paid.
    Tokens of models on one's own devices are paid by the hour. What is unknown makes a sum unknown.

    Args:
        summaries: Of the runs.
        price: What is paid.
    """
    seconds, tokens, calls_endpoint = 0.0, 0.0, False
    for summary in summaries:
        remote = is_remote(str(summary.manifest.config["judge"]["kind"]))
        for role, cost in summary.cost.items():
            if role == "judge" and remote:
                calls_endpoint = True
                tokens += _known(cost["tokens"])
            else:
                seconds += _known(cost["device_seconds"])
    hours, millions = seconds / 3600, tokens / 1e6
    parts = [f"{hours:.4g} device-hours" if math.isfinite(hours) else "device-hours not recorded"]
    if calls_endpoint:
        parts.append(f"{millions:.4g} million tokens of an endpoint")
    due = 0.0
    if price.hour is not None:
        due += hours * price.hour
    if price.million_tokens is not None:
        due += millions * price.million_tokens
    if price.hour is None and price.million_tokens is None:
        return ", ".join(parts)
    exceptions = [
        text
        for text, is_missing in (
            ("without its device-hours", price.hour is None),
            ("without its tokens", calls_endpoint and price.million_tokens is None),
        )
        if is_missing
    ]
    amount = f"{due:.4g}" if math.isfinite(due) else "unknown"
    return f"{', '.join(parts)}; at these prices {' '.join([amount, *exceptions])}"


def bills(runs: Sequence[LoggedRun], names: Sequence[str], price: Price) -> list[str]:
    """Return a line a run of what it cost, over all of its seeds; none where nothing is priced."""
    if price == Price():
        return []
    return [
        f"{name}: {spending([summarise(part.folder.path) for part in run.parts], price)}"
        for run, name in zip(runs, names, strict=True)
    ]


def _known(value: float | None) -> float:
    return math.nan if value is None else value
