"""The figure and the table of a sweep: what each search scores, over what it costs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from harness.analysis.sweep import AXES, Sweep
from harness.analysis.wording import UNKNOWN, score
from harness.report.style import COLORS, FAINT, INK, MARKERS, frame, legend, log_axis, plain
from harness.report.tables import Table

HOW = (
    "Micro scores of one bank of draws, 95% intervals over prompts; costs are means for one "
    "search, the judge's work included, the benchmark's own grading left out. Pareto: no point of "
    "a judge costs no more and scores as high. Many points were tried on the same prompts, so the "
    "best of them look better than they are.",
    "The difference is to the baseline at the same cost (between two of its budgets a coin flip "
    "between the two), paired over prompts.",
)


def table(sweep: Sweep, notes: Sequence[str] = ()) -> Table:
    """Return one row a point, by ascending cost."""
    rows = sweep.frame.sort_values([sweep.axis, "curve"], kind="stable")
    shown = pd.DataFrame(
        {
            "": ["*" if pareto else "" for pareto in rows["pareto"]],
            "search": rows["curve"],
            "budget": rows["budget"],
            "score": [_interval(row, "", score) for _, row in rows.iterrows()],
            "images judged": rows["draws"].map("{:.2f}".format),
            "NFE": rows["nfe"].map(_cost),
            "TFLOPs": rows["tflops"].map(_cost),
            "device-s": rows["device_seconds"].map(_cost),
            f"less {sweep.baseline} at equal cost": [
                _interval(row, "difference", "{:+.3f}".format) for _, row in rows.iterrows()
            ],
        }
    )
    budgets: dict[str, list[str]] = {}
    for point in sweep.missing:
        budgets.setdefault(point.curve, []).append(str(point.budget))
    searches = [f"{curve} at {', '.join(at)}" for curve, at in budgets.items()]
    missing = [f"the log lacks draws for these searches: {'; '.join(searches)}"]
    title = f"Score over {AXES[sweep.axis]}; * marks the Pareto set"
    return Table("frontier", title, rows, shown, [*HOW, *(missing if searches else []), *notes])


def figure(sweep: Sweep, *, warnings: Sequence[str] = (), captions: Sequence[str] = ()) -> Figure:
    """Draw all points over the cost they are compared at; those of the Pareto set are ringed."""
    drawing, (axes,) = frame(
        "Score over realised cost of a search (micro)", 1, height=4.2, warnings=warnings,
        captions=[HOW[0], *captions],
    )  # fmt: skip
    points = sweep.frame
    front = points[points["pareto"]].sort_values(sweep.axis)
    axes.step(front[sweep.axis], front["score"], where="post", color=FAINT, linewidth=1.0, zorder=1)
    kinds = {name: number for number, name in enumerate(dict.fromkeys(map(_kind, points["curve"])))}
    for kind, number in kinds.items():
        own = points[points["curve"].map(_kind) == kind]
        color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        if own["curve"].nunique() == 1:
            ends = [(own[a] - own[b]).clip(0) for a, b in (("score", "low"), ("high", "score"))]
            axes.errorbar(own[sweep.axis], own["score"], ends, color=color, fmt="none",
                          elinewidth=0.7, alpha=0.6)  # fmt: skip
        axes.plot(own[sweep.axis], own["score"], color=color, marker=marker, linestyle="none",
                  label=plain(kind))  # fmt: skip
    axes.plot(front[sweep.axis], front["score"], linestyle="none", marker="o", markersize=9,
              markerfacecolor="none", markeredgecolor=INK, label="Pareto set")  # fmt: skip
    axes.set_xlabel(f"{AXES[sweep.axis]} a search")
    axes.set_ylabel("score")
    log_axis(axes, points[sweep.axis].tolist())
    legend([axes])
    return drawing


def _kind(curve: str) -> str:
    """Return a curve's strategy, with the options that make another strategy of it."""
    name, _, options = curve.partition(" ")
    return name if name in ("prune", "threshold") else f"{name} {options}".strip()


def _interval(row: pd.Series, name: str, spelled: object) -> str:
    prefix = f"{name}_" if name else ""
    value = row[name or "score"]
    if pd.isna(value):
        return UNKNOWN
    assert callable(spelled)
    ends = f"[{spelled(row[prefix + 'low'])}, {spelled(row[prefix + 'high'])}]"
    return f"{spelled(value)} {ends}".replace("-", "−")


def _cost(value: float) -> str:
    return "not counted" if pd.isna(value) else f"{value:.4g}"
