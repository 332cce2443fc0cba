"""A run's summary as JSON for other programs: `show --json`, whose keys are documented and stay.

Keys may be added; none changes its meaning or goes while `format` is what it is. A number that
nobody knows is null, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from harness.analysis.statistics import Estimate
from harness.analysis.summary import Summary
from harness.models import bundled, leakage, provenance

FORMAT = 1


def as_json(summary: Summary, folder: str, state: str) -> dict[str, Any]:
    """Return a run in numbers, of types that JSON has.

    Args:
        summary: The run.
        folder: Where it lies.
        state: As `ls runs` has it.
    """
    config = summary.manifest.config
    plain = {
        "format": FORMAT,
        "run": summary.manifest.run,
        "folder": folder,
        "state": state,
        "created": summary.manifest.created,
        "label": bundled.label(config),
        "warning": leakage.warning(config),
        "notices": leakage.notices(summary.verifying),
        "provenance": {n: card.line for n, card in provenance.cards(summary.verifying).items()},
        "oracle": config["oracle"],
        "strategy": config["strategy"],
        "benchmark": config["benchmark"],
        "suite": config["suite"],
        "budget": config["budget"],
        "replicates": config["replicates"],
        "seed": config["seed"],
        "scores": {
            "micro": estimate(summary.micro),
            "macro": estimate(summary.macro),
            "tags": {
                tag: {"score": estimate(of), "prompts": number, "prompts_total": total}
                for tag, (of, number, total) in summary.tags.items()
            },
        },
        "metrics": {name: estimate(of) for name, of in summary.metrics.items()},
        "searches": {
            "total": summary.searches_total,
            "ended": summary.searches,
            "failed": summary.searches_failed,
            "scored": summary.searches_scored,
        },
        "draws": {
            "made": summary.draws,
            "failed": summary.draws_failed,
            "per_search": summary.draws_per_search,
            "retries": summary.retries,
            "reused": summary.reused,
        },
        "judge": {"accepted": summary.accepted, "agreement": summary.agreement},
        "cost": summary.cost,
        "errors": summary.errors,
        "failures": summary.failures,
        "lost_workers": summary.deaths,
    }
    known: dict[str, Any] = finite(plain)
    return known


def estimate(of: Estimate | None) -> dict[str, Any] | None:
    """Return a score with its interval; None if nobody knows it."""
    if of is None:
        return None
    return {"value": of.value, "low": of.low, "high": of.high, "method": of.method}


def finite(value: Any) -> Any:
    """Return a value with null for every number that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
