"""The figure and the table of a sweep: what each search scores, over what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.style import COLORS, FAINT, INK, MARKERS, Labels, frame, legend, log_axis, plain
from harness.report.tables import Table
from harness.runs.wording import UNKNOWN, score
from harness.what_if.sweep import AXES, Sweep

HOW = (
    "Micro scores of one bank of draws, 95% intervals over prompts; costs are means for one "
    "search, the judge's work included (it makes no NFE), the benchmark's own grading left out. "
    "Pareto set: no point of a judge costs no more and scores as high. Many points were tried on "
    "the same prompts, so the best of them look better than they are.",
    "A difference is to the baseline at the same cost (between two of its budgets a coin flip "
    "between the two), paired over prompts.",
)

HEADINGS = {"draws": "images judged", "nfe": AXES["nfe"], **AXES}


def table(sweep: Sweep, notes: Sequence[str] = ()) -> Table:
    """Return one row a point, by ascending cost."""
    rows = sweep.frame.sort_values([sweep.axes[0], "curve"], kind="stable")
    shown = pd.DataFrame(
        {
            "search": rows["curve"],
            "budget": rows["budget"],
            "score": [_interval(row, "score", "", score) for _, row in rows.iterrows()],
            **{
                heading: [_cost(row, axis) for _, row in rows.iterrows()]
                for axis, heading in HEADINGS.items()
            },
            **{
                f"at equal {HEADINGS[axis]}": [
                    _interval(row, f"difference_{axis}", f"difference_{axis}_", "{:+.3f}".format)
                    for _, row in rows.iterrows()
                ]
                for axis in sweep.axes
            },
        }
    )
    budgets: dict[str, list[str]] = {}
    for point in sweep.missing:
        budgets.setdefault(point.curve, []).append(str(point.budget))
    searches = [f"{curve} at {', '.join(at)}" for curve, at in budgets.items()]
    missing = [f"the log lacks draws for these searches: {'; '.join(searches)}"]
    uncounted = [name for axis, name in AXES.items() if axis not in sweep.axes]
    unknown = [f"not compared at equal {' or '.join(uncounted)}: not counted for every search"]
    title = (
        "Score over realised cost; * marks the Pareto set of a cost, and the last columns are the "
        f"score less that of {sweep.baseline}"
    )
    gaps = [*(missing if searches else []), *(unknown if uncounted else [])]
    return Table("frontier", title, rows, shown, [*HOW, *gaps, *notes])


def figure(sweep: Sweep, warnings: Sequence[str], captions: Sequence[str]) -> Figure:
    """Draw all points over each cost they are compared at; those of its Pareto set are ringed."""
    labels = Labels(warnings, [HOW[0], *captions])
    title = "Score over realised cost of a search (micro)"
    drawing, panels = frame(title, len(sweep.axes), labels, height=3.6)
    for panel, axis in zip(panels, sweep.axes, strict=True):
        _draw(panel, sweep.frame, axis)
        panel.sharey(panels[0])
    panels[0].set_ylabel("score")
    legend(panels)
    return drawing


def _draw(panel: Axes, points: pd.DataFrame, axis: str) -> None:
    front = points[points[f"pareto_{axis}"]].sort_values(axis)
    panel.step(front[axis], front["score"], where="post", color=FAINT, linewidth=1.0, zorder=1)
    kinds = {name: number for number, name in enumerate(dict.fromkeys(map(_kind, points["curve"])))}
    for kind, number in kinds.items():
        own = points[points["curve"].map(_kind) == kind]
        color = COLORS[number % len(COLORS)]
        marker = MARKERS[(number + number // len(COLORS)) % len(MARKERS)]  # no pair twice
        if own["curve"].nunique() == 1:
            ends = [(own[a] - own[b]).clip(0) for a, b in (("score", "low"), ("high", "score"))]
            panel.errorbar(own[axis], own["score"], ends, color=color, fmt="none", elinewidth=0.7,
                           alpha=0.6)  # fmt: skip
        panel.plot(own[axis], own["score"], color=color, marker=marker, linestyle="none",
                   label=plain(kind))  # fmt: skip
    panel.plot(front[axis], front["score"], linestyle="none", marker="o", markersize=9,
               markerfacecolor="none", markeredgecolor=INK, label="Pareto set")  # fmt: skip
    panel.set_xlabel(f"{HEADINGS[axis]} a search")
    log_axis(panel, points[axis].tolist())


def _kind(curve: str) -> str:
    """Return a curve's strategy and judge, with the options that make another strategy of it."""
    search, comma, judge = curve.partition(", ")
    name = search.partition(" ")[0]
    return f"{name if name in ('prune', 'threshold') else search}{comma}{judge}"


def _interval(row: pd.Series, name: str, prefix: str, spelled: Callable[[float], str]) -> str:
    if pd.isna(row[name]):
        return UNKNOWN
    ends = f"[{spelled(row[prefix + 'low'])}, {spelled(row[prefix + 'high'])}]"
    return f"{spelled(row[name])} {ends}".replace("-", "−")


def _cost(row: pd.Series, axis: str) -> str:
    if pd.isna(row[axis]):
        return "not counted"
    return f"{row[axis]:.4g}{'*' if row.get(f'pareto_{axis}') else ''}"
