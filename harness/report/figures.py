"""The figures. Each takes frames of `harness.analysis` and draws them; none computes anything."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.analysis.curves import AXES, ORACLE, RANDOM
from harness.report.style import (
    COLORS,
    DASHES,
    FAINT,
    INK,
    MARKERS,
    SOFT,
    frame,
    legend,
    log_axis,
    plain,
    thin,
)

MEANS = {"micro": "micro: mean over prompts", "macro": "macro: mean over tags"}
BUDGET = "budget: draws a prompt"

SELECTED: Mapping[str | None, tuple[Any, str]] = {
    None: ("-", "as selected"),
    ORACLE: ((0, (5, 1.5)), "oracle (pass@n)"),
    RANDOM: ((0, (1, 1.5)), "random draw"),
}
"""Selectors of the same draws, a run's own first: how each is drawn, and in what words."""

ALONE = (0, (1, 1.2))
"""How the generator's own cost is drawn: thin, and without the markers that runs have."""


def scaling(
    table: pd.DataFrame,
    points: pd.DataFrame,
    seeds: pd.DataFrame,
    *,
    warnings: Sequence[str] = (),
    captions: Sequence[str] = (),
) -> Figure:
    """Score over budget, micro and macro side by side, with published points and single seeds.

    Args:
        table: Of `curve_table`.
        points: Of `published_points`; empty for none.
        seeds: Of `seeds_table`; empty for none.
        warnings: Written above.
        captions: Written below.
    """
    captions = [*captions, *_grey_note(points[points["kind"].isin(MEANS)])]
    figure, panels = frame("Score over budget", 2, height=3.1, warnings=warnings, captions=captions)
    numbers = _numbers(table)
    for axes, (kind, title) in zip(panels, MEANS.items(), strict=True):
        _curves(axes, table[table["own"] & (table["kind"] == kind)], numbers)
        _seeds(axes, seeds[seeds["kind"] == kind], numbers)
        _published(axes, points[points["kind"] == kind])
        axes.set_title(title)
        axes.set_xlabel(BUDGET)
        shown = points[points["kind"] == kind]["n"].tolist()
        log_axis(axes, [*table["budget"], *shown], whole=True)
    panels[0].set_ylabel("score, 95% interval")
    _share_y(panels)
    legend(panels)
    return figure


def by_tag(
    table: pd.DataFrame,
    points: pd.DataFrame,
    *,
    warnings: Sequence[str] = (),
    captions: Sequence[str] = (),
) -> Figure:
    """Score over budget, one panel a tag, all on one scale."""
    own = table[table["own"] & (table["kind"] == "tag")]
    tags = sorted(own["tag"].unique())
    columns = min(3, len(tags)) or 1
    rows = -(-len(tags) // columns) or 1
    captions = [*captions, *_grey_note(points[points["kind"] == "tag"])]
    figure, panels = frame(
        "Score over budget, by tag",
        columns,
        rows=rows,
        height=2.1,
        warnings=warnings,
        captions=captions,
    )
    for axes in panels[len(tags) :]:
        axes.set_visible(False)
    for number, (axes, tag) in enumerate(zip(panels, tags, strict=False)):
        of_tag = own[own["tag"] == tag]
        _curves(axes, of_tag, _numbers(table))
        _published(axes, points[(points["kind"] == "tag") & (points["tag"] == tag)])
        axes.set_title(f"{plain(tag, 28)} ({of_tag['prompts'].max()} prompts)")
        log_axis(axes, own["budget"], whole=True)
        if number >= len(tags) - columns:
            axes.set_xlabel(BUDGET)
        if number % columns == 0:
            axes.set_ylabel("score, 95% interval")
    _share_y(panels[: len(tags)])
    legend(panels)
    return figure


def gap(
    table: pd.DataFrame,
    gaps: pd.DataFrame,
    *,
    warnings: Sequence[str] = (),
    captions: Sequence[str] = (),
) -> Figure:
    """The judge's gap: a panel of selectors for each run, and the gaps of all."""
    micro = table[table["kind"] == "micro"]
    runs = list(micro.groupby("run", sort=False))
    rows = -(-(len(runs) + 1) // 3)
    columns = -(-(len(runs) + 1) // rows)
    figure, panels = frame(
        "Oracle–judge gap (micro)",
        columns,
        rows=rows,
        height=3.1 if rows == 1 else 2.1,
        warnings=warnings,
        captions=captions,
    )
    for axes in panels[len(runs) + 1 :]:
        axes.set_visible(False)
    last = panels[len(runs)]
    for number, (axes, (run, of_run)) in enumerate(zip(panels, runs, strict=False)):
        _selectors(axes, of_run, COLORS[number % len(COLORS)])
        axes.set_title(textwrap.fill(plain(run), 78 // columns, break_on_hyphens=False))
        axes.set_ylabel("score" if number % columns == 0 else "")
        of_run = gaps[(gaps["run"] == run) & (gaps["kind"] == "micro")]
        _band(last, _known(of_run), "gap", number, label=plain(run))
    last.set_title("oracle minus as selected")
    last.set_ylabel("difference, 95% interval")
    last.axhline(0, color=FAINT, linewidth=0.8)
    for dash, name in SELECTED.values():
        last.plot([], [], color=SOFT, linestyle=dash, label=name)
    for number, axes in enumerate(panels[: len(runs) + 1]):
        if number > len(runs) - columns:
            axes.set_xlabel(BUDGET)
        log_axis(axes, table["budget"], whole=True)
    _share_y(panels[: len(runs)])
    legend([last])
    return figure


def _selectors(axes: Axes, rows: pd.DataFrame, color: str) -> None:
    """One run's draws as its own rule, an oracle and chance select among them."""
    for selector, (dash, _) in SELECTED.items():
        line = _known(rows[rows["own"] if selector is None else rows["selector"] == selector])
        marker = "o" if len(line) < 2 else None
        axes.plot(line["budget"], line["score"], color=color, linestyle=dash, marker=marker)


def cost(
    table: pd.DataFrame,
    points: pd.DataFrame,
    *,
    warnings: Sequence[str] = (),
    captions: Sequence[str] = (),
) -> Figure:
    """Score over what an image really cost: all roles, and the generator alone.

    Published points stand on the axis of draws, those whose method makes as many as it is given.
    """
    points = points[(points["kind"] == "micro") & points["draws"].notna()]
    captions = [*captions, *_grey_note(points)]
    figure, panels = frame(
        "Score over realised cost of an image (micro)",
        2,
        rows=2,
        height=2.4,
        warnings=warnings,
        captions=captions,
    )
    own = table[table["own"] & (table["kind"] == "micro")]
    apart = False
    for axes, (axis, title) in zip(panels, AXES.items(), strict=True):
        drawn: list[float] = []
        for number, (run, rows) in enumerate(own.groupby("run", sort=False)):
            known = _known(rows)
            drawn += known[axis].tolist()
            if not (known[axis] > 0).any():
                continue
            _band(axes, known, "score", number, x=axis, label=plain(run))
            alone = f"{axis}_generator"
            if alone in known and not np.allclose(known[alone], known[axis]):
                apart = True
                drawn += known[alone].tolist()
                axes.plot(
                    known[alone],
                    known["score"],
                    color=COLORS[number % len(COLORS)],
                    linestyle=ALONE,
                    linewidth=1.1,
                )
        axes.set_xlabel(f"{title} an image")
        axes.set_ylabel("score, 95% interval")
        if axis == "draws":
            _published(axes, points, x="draws")
            drawn += points["draws"].tolist()
        if not any(value > 0 for value in drawn):
            axes.text(0.5, 0.5, "not counted", transform=axes.transAxes, ha="center", color=FAINT)
        log_axis(axes, drawn, whole=axis == "draws")
    if apart:
        last = panels[-1]
        last.plot([], [], color=SOFT, marker="o", label="with markers: all roles")
        last.plot([], [], color=SOFT, linestyle=ALONE, linewidth=1.1, label="thin: generator only")
    _share_y(panels)
    legend(panels)
    return figure


def _numbers(table: pd.DataFrame) -> dict[str, int]:
    """Number of each run, which its colour and marker hang on: the same in every panel."""
    return {str(run): number for number, run in enumerate(table["run"].unique())}


def _curves(axes: Axes, table: pd.DataFrame, numbers: Mapping[str, int]) -> None:
    for run, rows in table.groupby("run", sort=False):
        _band(axes, _known(rows), "score", numbers[str(run)], label=plain(run))


def _seeds(axes: Axes, seeds: pd.DataFrame, numbers: Mapping[str, int]) -> None:
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


def _band(
    axes: Axes,
    rows: pd.DataFrame,
    value: str,
    number: int,
    *,
    x: str = "budget",
    label: str | None = None,
) -> None:
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


def _known(rows: pd.DataFrame) -> pd.DataFrame:
    value = "score" if "score" in rows else "gap"
    rows = rows[rows[value].notna()]
    return rows.iloc[thin(len(rows))]


def _published(axes: Axes, points: pd.DataFrame, *, x: str = "n") -> None:
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


def _grey_note(points: pd.DataFrame) -> list[str]:
    grey = points[points["reason"] != ""]
    if grey.empty:
        return []
    counts = grey["reason"].value_counts()
    listed = "; ".join(f"{reason} ({count})" for reason, count in counts.items())
    return [f"grey published points are not comparable: {listed}"]


def _share_y(panels: Sequence[Axes]) -> None:
    if not panels:
        return
    low = min(axes.get_ylim()[0] for axes in panels)
    high = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(max(low, -0.03), min(high, 1.03))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
