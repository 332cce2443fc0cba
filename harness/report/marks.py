"""What figures are made of: runs as bands, seeds, published points, the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.ticker import MaxNLocator

from harness.report.style import COLORS, DASHES, FAINT, INK, MARKERS, SOFT, plain, thin


def numbers(table: pd.DataFrame) -> dict[str, int]:
    """Return each run's number, which its colour and marker hang on in every panel."""
    return {str(run): number for number, run in enumerate(table["run"].unique())}


def curves(axes: Axes, table: pd.DataFrame, numbers: Mapping[str, int]) -> None:
    """Draw each run's curve with its band, in the colour of its number."""
    for run, rows in table.groupby("run", sort=False):
        band(axes, known(rows), "score", numbers[str(run)], label=plain(run))


def seeds(axes: Axes, seeds: pd.DataFrame, numbers: Mapping[str, int]) -> None:
    """Draw the single seeds of pooled runs as short strokes."""
    for run, rows in seeds.groupby("run", sort=False):
        axes.plot(
            rows["budget"],
            rows["score"],
            color=COLORS[numbers[str(run)] % len(COLORS)],
            linestyle="none",
            marker="_",
            markersize=7,
            markeredgewidth=1.0,
            zorder=3,
        )
    if len(seeds):
        words = "single seeds, at the run's budget"
        axes.plot([], [], color=SOFT, linestyle="none", marker="_", markersize=7, label=words)


def band(
    axes: Axes,
    rows: pd.DataFrame,
    value: str,
    number: int,
    *,
    x: str = "budget",
    label: str | None = None,
) -> None:
    """Draw a run's curve over `x` with its interval: a band, or a bar where it has one point."""
    color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
    dash = DASHES[number % len(DASHES)]
    if rows[x].nunique() == 1:  # one budget, or larger ones that cost nothing more
        point = rows.iloc[-1]
        ends = [[max(0.0, point[value] - point["low"])], [max(0.0, point["high"] - point[value])]]
        axes.errorbar([point[x]], [point[value]], ends, color=color, fmt="none", capsize=2)
        # A line of its own, since legends list error bars after all lines.
        axes.plot([point[x]], [point[value]], color=color, linestyle=dash, marker=marker,
                  label=label)  # fmt: skip
        return
    axes.fill_between(rows[x], rows["low"], rows["high"], color=color, linewidth=0)
    bands = [part for part in axes.collections if isinstance(part, PolyCollection)]
    for band in bands:  # many, one on another, would hide the lines
        band.set_alpha(0.18 if len(bands) <= 3 else 0.09)
    axes.plot(
        rows[x],
        rows[value],
        color=color,
        linestyle=dash,
        marker=marker,
        markevery=thin(len(rows), 8).tolist(),
        label=label,
    )


def known(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that have a value, thinned to as many as a line shows."""
    value = "score" if "score" in rows else "gap"
    rows = rows[rows[value].notna()]
    return rows.iloc[thin(len(rows))]


def published(axes: Axes, points: pd.DataFrame, *, x: str = "n") -> None:
    """Draw published points: stars where comparable, else grey rings."""
    matched = points[points["reason"] == ""]
    for number, (method, rows) in enumerate(matched.groupby("method", sort=False)):
        rows = rows.sort_values(x)
        axes.plot(
            rows[x],
            rows["score"],
            color=INK,
            linestyle="none",
            marker="*Xhd<>"[number % 6],
            markersize=6,
            markeredgecolor="none",
            label=f"published: {plain(method, 30)}",
        )
    grey = points[points["reason"] != ""]
    if len(grey):
        axes.plot(
            grey[x],
            grey["score"],
            linestyle="none",
            marker="o",
            markersize=4,
            markerfacecolor="none",
            markeredgecolor=FAINT,
            markeredgewidth=0.7,
            label="published, not comparable",
            zorder=1,
        )


def grey_note(points: pd.DataFrame) -> list[str]:
    """Return the caption that says why grey published points are not comparable."""
    grey = points[points["reason"] != ""]
    if grey.empty:
        return []
    counts = grey["reason"].value_counts()
    listed = "; ".join(f"{reason} ({count})" for reason, count in counts.items())
    return [f"grey published points are not comparable: {listed}"]


def share_y(panels: Sequence[Axes]) -> None:
    """Give panels one range of scores and few round ticks."""
    if not panels:
        return
    low = min(axes.get_ylim()[0] for axes in panels)
    high = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(max(low, -0.03), min(high, 1.03))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))


def front(axes: Axes, parts: Sequence[pd.DataFrame], x: str) -> None:
    """Mark the points that nothing cheaper scores as high as, to three digits, behind all lines.

    The parts are of each run: its cost, in column `x`, and `score`.
    """
    points = pd.concat(list(parts), ignore_index=True)
    points = points[points[x] > 0].sort_values([x, "score"], ascending=[True, False])
    best, rises = -np.inf, []
    for score in points["score"]:
        rises.append(score > best + 0.001)
        best = score if rises[-1] else best
    points = points[rises]
    axes.plot(points[x], points["score"], color=FAINT, alpha=0.3, linewidth=6, zorder=1,
              solid_joinstyle="round", label="Pareto front")  # fmt: skip
