"""The figures. Each takes frames of `harness.analysis` and draws them; none computes anything.

The curves' `table` is of `curve_table`; published `points` of `published_points`, `seeds` of
`seeds_table`, either empty for none; `labels` are written above and below the panels.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.analysis.curves import AXES, ORACLE, RANDOM
from harness.report import marks
from harness.report.style import (
    COLORS,
    DASHES,
    FAINT,
    SOFT,
    Labels,
    frame,
    legend,
    log_axis,
    plain,
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
    table: pd.DataFrame, points: pd.DataFrame, seeds: pd.DataFrame, labels: Labels
) -> Figure:
    """Score over budget, micro and macro side by side, with published points and single seeds."""
    labels = labels.noted(marks.grey_note(points[points["kind"].isin(MEANS)]))
    figure, panels = frame("Score over budget", 2, labels, height=3.1)
    numbers = marks.numbers(table)
    for axes, (kind, title) in zip(panels, MEANS.items(), strict=True):
        marks.curves(axes, table[table["own"] & (table["kind"] == kind)], numbers)
        marks.seeds(axes, seeds[seeds["kind"] == kind], numbers)
        marks.published(axes, points[points["kind"] == kind])
        axes.set_title(title)
        axes.set_xlabel(BUDGET)
        shown = points[points["kind"] == kind]["n"].tolist()
        log_axis(axes, [*table["budget"], *shown], whole=True)
    panels[0].set_ylabel("score, 95% interval")
    marks.share_y(panels)
    legend(panels)
    return figure


def by_tag(table: pd.DataFrame, points: pd.DataFrame, labels: Labels) -> Figure:
    """Score over budget, one panel a tag, all on one scale."""
    own = table[table["own"] & (table["kind"] == "tag")]
    tags = sorted(own["tag"].unique())
    columns = min(3, len(tags)) or 1
    rows = -(-len(tags) // columns) or 1
    labels = labels.noted(marks.grey_note(points[points["kind"] == "tag"]))
    figure, panels = frame("Score over budget, by tag", columns, labels, rows=rows, height=2.1)
    for axes in panels[len(tags) :]:
        axes.set_visible(False)
    for number, (axes, tag) in enumerate(zip(panels, tags, strict=False)):
        of_tag = own[own["tag"] == tag]
        marks.curves(axes, of_tag, marks.numbers(table))
        marks.published(axes, points[(points["kind"] == "tag") & (points["tag"] == tag)])
        axes.set_title(f"{plain(tag, 28)} ({of_tag['prompts'].max()} prompts)")
        log_axis(axes, own["budget"], whole=True)
        if number >= len(tags) - columns:
            axes.set_xlabel(BUDGET)
        if number % columns == 0:
            axes.set_ylabel("score, 95% interval")
    marks.share_y(panels[: len(tags)])
    legend(panels)
    return figure


def gap(table: pd.DataFrame, gaps: pd.DataFrame, labels: Labels) -> Figure:
    """The judge's gap: a panel of selectors for each run, and the gaps of all."""
    micro = table[table["kind"] == "micro"]
    runs = list(micro.groupby("run", sort=False))
    rows = -(-(len(runs) + 1) // 3)
    columns = -(-(len(runs) + 1) // rows)
    height = 3.1 if rows == 1 else 2.1
    figure, panels = frame("Oracle–judge gap (micro)", columns, labels, rows=rows, height=height)
    for axes in panels[len(runs) + 1 :]:
        axes.set_visible(False)
    last = panels[len(runs)]
    for number, (axes, (run, of_run)) in enumerate(zip(panels, runs, strict=False)):
        _selectors(axes, of_run, COLORS[number % len(COLORS)])
        axes.set_title(textwrap.fill(plain(run), 78 // columns, break_on_hyphens=False))
        axes.set_ylabel("score" if number % columns == 0 else "")
        of_run = gaps[(gaps["run"] == run) & (gaps["kind"] == "micro")]
        marks.band(last, marks.known(of_run), "gap", number, label=plain(run))
    last.set_title("oracle minus as selected")
    last.set_ylabel("difference, 95% interval")
    last.axhline(0, color=FAINT, linewidth=0.8)
    for dash, name in SELECTED.values():
        last.plot([], [], color=SOFT, linestyle=dash, label=name)
    for number, axes in enumerate(panels[: len(runs) + 1]):
        if number > len(runs) - columns:
            axes.set_xlabel(BUDGET)
        log_axis(axes, table["budget"], whole=True)
    marks.share_y(panels[: len(runs)])
    legend([last])
    return figure


def _selectors(axes: Axes, rows: pd.DataFrame, color: str) -> None:
    """One run's draws as its own rule, an oracle and chance select among them."""
    for selector, (dash, _) in SELECTED.items():
        line = marks.known(rows[rows["own"] if selector is None else rows["selector"] == selector])
        marker = "o" if len(line) < 2 else None
        axes.plot(line["budget"], line["score"], color=color, linestyle=dash, marker=marker)


def roc(table: pd.DataFrame, areas: Mapping[str, float], labels: Labels) -> Figure:
    """Right draws that the judge scores above a threshold over wrong ones, a line a run.

    Args:
        table: Of `harness.analysis.judging.roc_table`.
        areas: The area under each run's line.
        labels: What is written above and below.
    """
    figure, (axes,) = frame("Judge's score against the scorer (ROC)", 1, labels, height=3.4)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, label="chance")
    for number, (run, area) in enumerate(areas.items()):
        line = table[table["run"] == run]
        if len(line):
            axes.plot([0, *line["wrong_above"]], [0, *line["right_above"]],
                      color=COLORS[number % len(COLORS)], linestyle=DASHES[number % len(DASHES)],
                      label=f"{plain(run)}, area {area:.3f}")  # fmt: skip
    axes.set_box_aspect(1)
    axes.set_xlabel("wrong draws that score as high")
    axes.set_ylabel("right draws that score as high")
    legend([axes])
    return figure


def cost(table: pd.DataFrame, points: pd.DataFrame, labels: Labels) -> Figure:
    """Score over what an image really cost: all roles, and the generator alone.

    Published points stand on the axis of draws, those whose method makes as many as it is given.
    """
    points = points[(points["kind"] == "micro") & points["draws"].notna()]
    labels = labels.noted(marks.grey_note(points))
    title = "Score over realised cost of an image (micro)"
    figure, panels = frame(title, 2, labels, rows=2, height=2.4)
    own = table[table["own"] & (table["kind"] == "micro")]
    apart = False
    for axes, (axis, words) in zip(panels, AXES.items(), strict=True):
        drawn: list[float] = []
        costly: list[pd.DataFrame] = []
        for number, (run, rows) in enumerate(own.groupby("run", sort=False)):
            curve = marks.known(rows)
            drawn += curve[axis].tolist()
            if not (curve[axis] > 0).any():
                continue
            costly.append(curve[[axis, "score"]])
            marks.band(axes, curve, "score", number, x=axis, label=plain(run))
            alone = f"{axis}_generator"
            if alone in curve and not np.allclose(curve[alone], curve[axis]):
                apart = True
                drawn += curve[alone].tolist()
                axes.plot(
                    curve[alone],
                    curve["score"],
                    color=COLORS[number % len(COLORS)],
                    linestyle=ALONE,
                    linewidth=1.1,
                )
        if len(costly) > 1:
            marks.front(axes, costly, axis)
        axes.set_xlabel(f"{words} an image")
        axes.set_ylabel("score, 95% interval")
        if axis == "draws":
            marks.published(axes, points, x="draws")
            drawn += points["draws"].tolist()
        if not any(value > 0 for value in drawn):
            axes.text(0.5, 0.5, "not counted", transform=axes.transAxes, ha="center", color=FAINT)
        log_axis(axes, drawn, whole=axis == "draws")
    if apart:
        last = panels[-1]
        last.plot([], [], color=SOFT, marker="o", label="with markers: all roles")
        last.plot([], [], color=SOFT, linestyle=ALONE, linewidth=1.1, label="thin: generator only")
    marks.share_y(panels)
    legend(panels)
    return figure
