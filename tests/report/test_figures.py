"""Figures of as many runs as there are strategies: every run told apart, nothing on top."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from harness.report import figures, style

RUNS = (
    "single-20",
    "best-of-n-20 select=score",
    "best-of-n-20 select=first-accepted",
    "reflect-20",
    "explore-then-reflect-20",
    "reflect-beam-20",
    "reflect-or-restart-20",
)
TAGS = ("color_attr", "colors", "counting", "position", "single_object", "two_object")
NO_POINTS = pd.DataFrame(columns=["kind", "tag", "reason", "draws", "n", "method", "score"])
NO_SEEDS = pd.DataFrame(columns=["run", "kind", "budget", "score"])
SAID = style.Labels(
    warnings=["miniature models: this says something about searching, nothing about SANA"],
    captions=[f"{run}: 3 images per prompt, 1659 of 1659 searches ended" for run in RUNS],
)


def rows(number: int, run: str, selector: str, kind: str, tag: str) -> pd.DataFrame:
    budget = np.arange(1, 21)
    score = 0.3 + 0.05 * number + 0.02 * np.log2(budget) * (3 if selector == "oracle" else 1)
    spent = {
        f"{axis}{suffix}": budget * (0.8 if suffix else 1.0)
        for axis in ("draws", "nfe", "tflops", "device_seconds")
        for suffix in ("", "_generator")
        if axis != "draws" or not suffix
    }
    facts = {"run": run, "selector": selector, "own": selector == "strategy", "kind": kind}
    ends = {"budget": budget, "score": score, "low": score - 0.03, "high": score + 0.03}
    return pd.DataFrame({**facts, "tag": tag, "prompts": 553, **ends, **spent})


def curves(runs: tuple[str, ...]) -> pd.DataFrame:
    groups = [("micro", ""), ("macro", ""), *(("tag", tag) for tag in TAGS)]
    return pd.concat(
        rows(number, run, selector, kind, tag)
        for number, run in enumerate(runs)
        for selector in ("strategy", "oracle", "random")
        for kind, tag in groups
    )


def drawn(name: str, runs: tuple[str, ...] = RUNS) -> Figure:
    table = curves(runs)
    gaps = table[table["selector"] == "oracle"].assign(gap=lambda of: of["score"])
    with style.styled():
        match name:
            case "scaling":
                figure = figures.scaling(table, NO_POINTS, NO_SEEDS, SAID)
            case "by_tag":
                figure = figures.by_tag(table, NO_POINTS, SAID)
            case "cost":
                figure = figures.cost(table, NO_POINTS, SAID)
            case _:
                figure = figures.gap(table, gaps.drop(columns="score"), SAID)
        style.settle(figure)
        FigureCanvasAgg(figure).draw()
    return figure


def shown(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def entries(figure: Figure) -> list[str]:
    (legend,) = [of for part in figure.findobj() for of in getattr(part, "legends", [])]
    return [text.get_text() for text in legend.get_texts()]


def texts(figure: Figure) -> Iterator[object]:
    for axes in shown(figure):
        yield axes.title
        yield axes._left_title  # type: ignore[attr-defined]
        yield axes.xaxis.label
    for part in figure.findobj():
        for legend in getattr(part, "legends", []):
            yield from legend.get_texts()


def test_seven_runs_differ_in_colour_and_in_marker() -> None:
    micro, _ = shown(drawn("scaling"))
    lines = micro.get_lines()
    assert len(lines) == len(RUNS) == len({line.get_color() for line in lines})
    assert len({line.get_marker() for line in lines}) == len(RUNS)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("name", "panels", "more"),
    [("scaling", 2, 0), ("by_tag", 6, 0), ("cost", 4, 3), ("gap", 8, 3)],
)
def test_a_legend_names_every_run_once(name: str, panels: int, more: int) -> None:
    figure = drawn(name)
    assert len(shown(figure)) == panels
    names = entries(figure)
    assert sorted(set(names) & set(RUNS)) == sorted(RUNS) and len(names) == len(RUNS) + more


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["scaling", "by_tag", "cost", "gap"])
def test_words_lie_inside_and_not_on_each_other(name: str) -> None:
    figure = drawn(name)
    boxes = [
        (text.get_text(), text.get_window_extent())  # type: ignore[attr-defined]
        for text in texts(figure)
        if text.get_text()  # type: ignore[attr-defined]
    ]
    for words, box in boxes:
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, words
    for (words, box), (others, other) in combinations(boxes, 2):
        assert not box.padded(-1).overlaps(other), f"{words!r} on {others!r}"


def test_one_run_alone_has_its_selectors_and_its_gap() -> None:
    figure = drawn("gap", RUNS[:1])
    left, right = shown(figure)
    assert len(left.get_lines()) == 3 and left.get_title(loc="left") == RUNS[0]
    assert right.get_title(loc="left") == "oracle minus as selected"


@pytest.mark.parametrize(("length", "columns"), [(18, 3), (28, 2), (60, 1)])
def test_a_legend_of_long_names_has_fewer_columns(length: int, columns: int) -> None:
    figure = Figure(figsize=(7.2, 4), layout="constrained")
    axes = figure.subplots()
    for number in range(7):
        axes.plot([0, 1], [number, 0], label=f"{number} ".ljust(length, "n"))
    style.legend([axes])
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    assert legend._ncols == columns
    extent = legend.get_window_extent()
    assert figure.bbox.x0 <= extent.x0 and extent.x1 <= figure.bbox.x1


def test_the_last_bits_of_a_position_are_not_in_the_drawing() -> None:
    drawings = set()
    for shift in (0.0, 1e-12):
        figure = Figure()
        figure.add_axes((0.1 + shift, 0.1, 0.8, 0.8)).plot([1, 2])
        with style.styled():
            drawings.add(style.svg(figure))
    assert len(drawings) == 1
