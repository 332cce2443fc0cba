"""Style of figures: legible in print, without colour, to colour-blind readers, on dark ground."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

INK, SOFT, FAINT, PAPER, WARNING = "#1b1b1a", "#4a4a49", "#8a8a88", "#ffffff", "#a03500"
DARK = {INK: "#e8e8e6", SOFT: "#b8b8b6", PAPER: "#161618", WARNING: "#ff9a66"}

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#9467bd")
"""Okabe and Ito's palette (2008), less black and yellow, which would not be seen on dark and on
light ground, and a purple that is seen on both: a run has one colour everywhere."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))
"""As many as make the seventh line unlike the first: numbers without a common divisor."""

POINTS = 120
"""The most points drawn of one line; a figure is narrower than 2048 of them."""

WIDTH = 7.2
"""Inches: two columns of a paper."""

STYLE: dict[str, Any] = {
    "axes.edgecolor": FAINT,
    "axes.facecolor": PAPER,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 8.5,
    "figure.facecolor": PAPER,
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "grid.alpha": 0.25,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "svg.fonttype": "path",
    "svg.hashsalt": "inference-scaling-harness",
    "text.color": INK,
    "text.parse_math": False,  # names may hold dollar signs
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
}


def plain(text: object, width: int = 60) -> str:
    """A name as it may stand in a figure: no control characters, no endless lines."""
    shown = re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]+", " ", str(text)).strip()
    return shown if len(shown) <= width else shown[: width - 1] + "…"


@dataclass(frozen=True)
class Labels:
    """What a figure says of its runs.

    Attributes:
        warnings: What must be said before anything is read from it; written above.
        captions: How each run was measured; written below.
    """

    warnings: Sequence[str] = ()
    captions: Sequence[str] = ()

    def noted(self, notes: Sequence[str]) -> Labels:
        """Return these with notes below the captions."""
        return Labels(self.warnings, [*self.captions, *notes])


def frame(
    title: str, columns: int, labels: Labels, *, rows: int = 1, height: float
) -> tuple[Figure, list[Axes]]:
    """A figure with its warnings above and its facts below, so that they cannot be cropped off.

    Args:
        title: Of the whole figure.
        columns: Panels in a row.
        labels: What is written above and below.
        rows: Rows of panels.
        height: Of a row, in inches.
    """
    above = [title, *(w for text in labels.warnings for w in textwrap.wrap(plain(text, 400), 110))]
    below = [line for text in labels.captions for line in textwrap.wrap(plain(text, 400), 165)]
    top, bottom = 0.16 * len(above) + 0.06, 0.125 * len(below) + 0.04
    # Three stacked parts, so that a legend of any length pushes neither facts nor warnings.
    heights = [top, height * rows + 0.35, bottom]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    head, body, foot = cast(Any, figure.subfigures(3, 1, height_ratios=heights))
    for number, line in enumerate(above):
        head.text(
            0.01,
            1 - (0.04 + 0.16 * number) / top,
            line,
            va="top",
            fontsize=10 if number == 0 else 8,
            fontweight="bold" if number == 0 else "normal",
            color=INK if number == 0 else WARNING,
        )
    foot.text(0.01, 0.96, "\n".join(below), va="top", fontsize=6.2, color=SOFT)
    return figure, list(body.subplots(rows, columns, squeeze=False).ravel())


def thin(count: int, most: int = POINTS) -> npt.NDArray[np.int64]:
    """Choose the points to draw: all of a few, else evenly spaced on a log axis."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.geomspace(1, count, most).round().astype(np.int64)) - 1


def log_axis(axes: Axes, values: npt.ArrayLike, *, whole: bool = False) -> None:
    """A logarithmic x axis where values span a factor of four or more."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known) & (known > 0)]
    if not known.size or known.max() / known.min() < 4:
        return
    if not axes.dataLim.intervalx[1] > 0:  # nothing with a score was drawn; there is no such scale
        return
    axes.set_xscale("log", base=2 if whole else 10)
    if not whole:
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def legend(panels: Sequence[Axes]) -> None:
    """One legend for all panels, below them, in as many columns as the figure is wide for."""
    entries: dict[str, Any] = {}
    for axes in panels:
        handles, names = axes.get_legend_handles_labels()
        for handle, name in zip(handles, names, strict=True):
            entries.setdefault(name, handle)
    figure = panels[0].figure
    for columns in range(min(3, len(entries)), 0, -1):
        drawn = figure.legend(
            list(entries.values()), list(entries), loc="outside lower center", ncols=columns
        )
        # Letters are hinted by resolution: what is saved is a little wider than this.
        if columns == 1 or drawn.get_window_extent().width <= 0.93 * figure.bbox.width:
            return
        drawn.remove()


def settle(figure: Figure) -> None:
    """Lay a figure out once and for all; otherwise each format would do it again, twice."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)


def png(figure: Figure) -> bytes:
    """The figure as PNG, 200 dots an inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure) -> str:
    """The figure as SVG, letters as outlines; the same figure gives the same bytes.

    Clip paths are numbered: matplotlib makes their ids of positions whose last bits differ from
    process to process.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    drawing = buffer.getvalue().decode()
    ids = dict.fromkeys(re.findall(r'<clipPath id="(\w+)"', drawing))
    numbered = {name: f"clip{number}" for number, name in enumerate(ids)}
    return re.sub(
        r'(<clipPath id="|clip-path="url\(#)(\w+)', lambda m: m[1] + numbered[m[2]], drawing
    )


def themed(drawing: str) -> str:
    """Return an SVG whose few colours of ink and paper follow the reader's light or dark ground."""
    head, end, body = drawing.partition("<defs>")
    dark = ""
    for number, (light, color) in enumerate(DARK.items()):
        body = body.replace(light, f"var(--c{number},{light})")
        dark += f"--c{number}:{color};"
    return f"{head}<style>@media(prefers-color-scheme:dark){{svg{{{dark}}}}}</style>{end}{body}"


def styled() -> Any:
    """The context in which figures are drawn and saved."""
    return matplotlib.rc_context(cast(Any, STYLE))
