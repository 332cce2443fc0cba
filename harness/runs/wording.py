"""The spelling of numbers and runs wherever people read them.

A score that nobody knows is never a 0. A run is a `LoggedRun`, untyped here since it asks this file
how it looks in a notebook and at a prompt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from harness.models import bundled
from harness.statistics.intervals import Estimate

UNKNOWN = "–"
"""What stands for a score that there is none of."""


def score(value: float) -> str:
    """Spell a score, NaN for one that there is none of."""
    return UNKNOWN if math.isnan(value) else f"{value:.3f}"


def with_interval(value: float, low: float, high: float) -> str:
    """Spell a score with its interval."""
    return f"{score(value)} ({score(low)}–{score(high)})"


def cells(estimate: Estimate | None) -> tuple[str, str, str]:
    """Spell a score, its interval and the interval's method."""
    if estimate is None:
        return UNKNOWN, UNKNOWN, UNKNOWN
    interval = f"{score(estimate.low)}–{score(estimate.high)}"
    return score(estimate.value), interval, estimate.method


def n_of(number: int, total: int) -> str:
    """Spell how many of a total, the total alone if it is all."""
    return str(number) if number == total else f"{number} of {total}"


_LONGEST = 80
"""Characters of a name that a folder may have made up."""


def described(run: Any, name: str = "") -> Mapping[str, str]:
    """Return what a run is and came to, by its name or by its strategy and budget."""
    config = run.manifest.config
    scores = run.scores()
    known = scores[scores == scores]
    miniature = " (MINIATURE models)" if bundled.is_miniature(config) else ""
    return {
        "run": _shown(name or f"{config['strategy']['name']}-{config['budget']}"),
        "benchmark": _shown(config["benchmark"]["name"]),
        "models": f"{_shown(config['suite'])}{miniature}",
        "seeds": _shown(", ".join(map(str, run.seeds))),
        "prompts": str(len(run.prompts)),
        "searches": n_of(len(run.searches), run.searches_total),
        "micro": score(float(known.mean()) if len(known) else float("nan")),
    }


def run_text(run: Any) -> str:
    """Return a run in one line."""
    of = described(run)
    return (
        f"<LoggedRun {of['run']} on {of['benchmark']}, {of['models']}, seeds {of['seeds']}: "
        f"{of['searches']} searches of {of['prompts']} prompts, micro {of['micro']}>"
    )


def as_html(rows: Sequence[Mapping[str, str]], warnings: Sequence[str] = ()) -> str:
    """Return runs, as `described`, as a table in HTML, under what must be said first."""
    paragraphs = "".join(f"<p>{escape(_shown(text, 500))}</p>" for text in warnings)
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row.values())}</tr>" for row in rows
    )
    return f"{paragraphs}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _shown(text: str, longest: int = _LONGEST) -> str:
    plain = "".join(c if c.isprintable() else "?" for c in str(text))
    return plain if len(plain) <= longest else f"{plain[:longest]}…"
