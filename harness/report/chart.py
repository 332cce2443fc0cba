"""The head of a page about runs: the answer, its chart, and one line a run.

The chart's data are every run's own curve over each cost axis, by score.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from harness.analysis.curves import AXES
from harness.analysis.findings import Findings
from harness.analysis.ledger import LEDGER
from harness.report import answer
from harness.report.page import grid
from harness.report.style import COLORS, thin

_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")

_KEYS = ("run", "kind", "tag")
_COLUMNS = ("budget", "score", "low", "high")


def section(findings: Findings) -> dict[str, Any]:
    """Return what the head of a page shows: the values of `cost` in `parts.html`."""
    drawn = chart(findings)
    return {
        "answer": answer.sentences(findings),
        "chart": drawn,
        "chart_json": json.dumps(drawn, allow_nan=False, separators=(",", ":")),
        "has_forecast": any(run["forecast"]["budget"] for run in drawn["runs"]),
        "overviews": {axis: grid(answer.overview(findings, axis)) for axis in drawn["axes"]},
        "captions": findings.captions,
    }


def chart(findings: Findings) -> dict[str, Any]:
    """Return what the page's chart draws.

    Returns:
        JSON-like: `axis` (shown first), `axes` and `scores` (key and label; axes on which every run
        has costs), `price` (of a device-hour and of a million tokens), `missing` (a sentence for
        each other axis), `runs`: each with `name`, `color`, `symbol`, `dash` and `curves` by
        score's key: `budget`, `score`, `low`, `high`, and the cost on each axis; and `forecast`,
        how the micro curve would go on, alike. Unknown numbers are None.
    """
    own = findings.ledger
    costly = {axis: own[own[axis] > 0]["run"].unique() for axis in LEDGER}
    known = [axis for axis in LEDGER if len(costly[axis]) == len(findings.names)]
    columns = [*_COLUMNS, *known]
    labels = dict(_labels(own, findings.skills))
    skills = [findings.skills[[*_KEYS, *columns]]] if len(findings.skills) else []
    drawn = pd.concat([own[[*_KEYS, *columns]], *skills])
    curves = dict(list(drawn[drawn["score"].notna()].groupby(list(_KEYS))))
    largest = findings.forecast["run"].map(own.groupby("run")["budget"].max())
    beyond = findings.forecast[findings.forecast["budget"] > largest]
    return {
        "axis": findings.axis if findings.axis in known else "draws",
        "axes": {axis: f"{LEDGER[axis]} an image" for axis in known},
        "price": [findings.price.hour, findings.price.million_tokens],
        "missing": [
            f"{LEDGER[axis]} are not known of "
            f"{', '.join(name for name in findings.names if name not in costly[axis])}."
            for axis in LEDGER
            if axis not in known and (axis in AXES or len(costly[axis]))
        ],
        "scores": labels,
        "runs": [
            {
                "name": name,
                "color": COLORS[number % len(COLORS)],
                # After one round of colours the symbols are others.
                "symbol": _SYMBOLS[(number + number // len(COLORS)) % len(_SYMBOLS)],
                "dash": "dot" if number // len(COLORS) % 2 else "solid",
                "curves": {
                    key: _numbers(curves.get((name, *_group(key)), drawn.iloc[:0])[columns])
                    for key in labels
                },
                "forecast": _numbers(beyond.loc[beyond["run"] == name, columns]),
            }
            for number, name in enumerate(findings.names)
        ],
    }


def _labels(own: pd.DataFrame, skills: pd.DataFrame) -> Iterator[tuple[str, str]]:
    yield from (("micro", "micro: mean over prompts"), ("macro", "macro: mean over tags"))
    for tag in own.loc[own["kind"] == "tag", "tag"].drop_duplicates():
        yield f"tag {tag}", str(tag) or "(no tag)"
    for skill in skills["tag"].drop_duplicates():
        yield f"skill {skill}", f"skill: {skill}"


def _group(key: str) -> tuple[str, str]:
    """Return kind and tag of a score's key."""
    kind, _, tag = key.partition(" ")
    return kind, tag


def _numbers(rows: pd.DataFrame) -> dict[str, list[float | None]]:
    """Return a frame's columns in as many digits as a chart shows; None where unknown."""
    rows = rows.iloc[thin(len(rows))]
    return {
        str(name): [float(f"{v:.5g}") if np.isfinite(v) else None for v in values.astype(float)]
        for name, values in rows.items()
    }
