"""From run folders to a folder with the page, the figures and the tables."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from harness.analysis.aside import aside
from harness.analysis.findings import Findings, Progress, analyse, silent
from harness.analysis.rejections import sentences
from harness.errors import UsageError
from harness.log.files import make_folder, write_atomically
from harness.log.location import Location
from harness.log.run_folder import RunFolder
from harness.models.bundled import is_miniature
from harness.price import UNPRICED, Price
from harness.report import (
    answer,
    chains,
    chart,
    contents,
    figures,
    gallery,
    measures,
    style,
    tables,
)
from harness.report.page import Drawing, page, run_facts
from harness.report.tables import Table

PUBLISHED_ON_MINIATURE = (
    "Published points are drawn beside miniature models because that was asked for. Models, "
    "resolution and scorer differ; the distance between them means nothing."
)

_SHOWN = "backslashreplace"
"""Bytes of a folder's name that are no text are shown as what they are."""


@dataclass(frozen=True)
class Options:
    """Options of a report.

    Attributes:
        force: Compare runs of unlike protocols, with a warning.
        published: Draw published points even beside miniature models or another benchmark.
        gallery: Which prompts to show: of "worst", "best", "gain", "random", "all", "none".
        gallery_size: Prompts for each.
        gallery_searches: The most searches shown of one prompt and run: replicates and seeds.
        separate_seeds: Keep runs apart that differ in nothing but their seed.
        seed: Of bootstraps, sign flips and random choices.
        price: What is paid for a device-hour and for an endpoint's tokens.
    """

    force: bool = False
    published: bool = False
    gallery: tuple[str, ...] = gallery.CHOICES
    gallery_size: int = 6
    gallery_searches: int = 4
    separate_seeds: bool = False
    seed: int = 0
    price: Price = UNPRICED


@dataclass(frozen=True)
class Report:
    """The files that were written, the HTML page among them, and what they say.

    Attributes:
        findings: What was computed.
        points: Published points, none where they are not to be drawn.
        warnings: What must be read first.
    """

    page: Path
    files: list[Path]
    findings: Findings
    points: pd.DataFrame
    warnings: list[str]


def report(
    paths: Sequence[Location],
    out: Path,
    options: Options | None = None,
    progress: Progress = silent,
) -> Report:
    """Write the report of some runs.

    Args:
        paths: The runs' folders.
        out: Where to; made if need be, files of the same names are replaced.
        options: `Options()` by default.
        progress: Called with a stage and its detail.

    Raises:
        UsageError: A folder is no run with scores, or protocols differ and were not forced, or
            `out` is a run itself.
        HarnessError: A log is damaged, or a file cannot be written.
    """
    options = options or Options()
    if RunFolder(out).is_run:
        raise UsageError(f"{out} is a run", "give --out a folder of its own")
    findings = analyse(
        paths,
        separate_seeds=options.separate_seeds,
        force=options.force,
        seed=options.seed,
        price=options.price,
        progress=progress,
    )
    progress("computing tables", "")
    points, warnings = notices(findings, options)
    for name in _DRAWN:
        getattr(findings, name)  # computed before there are two of them
    drawn = aside(partial(draw, findings, points, warnings))
    made = write_up(findings, points, warnings)
    parts = _page_parts(findings, options)
    progress("drawing figures", "")
    drawings, files = drawn()
    progress("writing the page", "")
    for table in made:
        for suffix, write in _FORMATS.items():
            files[f"tables/{table.name}.{suffix}"] = write(table).encode(errors=_SHOWN)
    html = page(drawings=drawings, tables=made, warnings=warnings, **parts)
    files["index.html"] = html.encode(errors=_SHOWN)
    written = []
    for name, data in files.items():
        path = out / name
        make_folder(path.parent)
        write_atomically(path, data, durable=False)
        written.append(path)
    return Report(out / "index.html", written, findings, points, warnings)


_FORMATS: dict[str, Callable[[Table], str]] = {
    "csv": tables.csv,
    "md": tables.markdown,
    "tex": tables.latex,
}


def notices(findings: Findings, options: Options) -> tuple[pd.DataFrame, list[str]]:
    """Return the published points to be drawn, and what must be read first."""
    warnings, points = list(findings.warnings), findings.published
    configs = [run.manifest.config for run in findings.runs]
    miniature = any(map(is_miniature, configs))
    if options.published and miniature:
        warnings.append(PUBLISHED_ON_MINIATURE)
    if not options.published:
        benchmarks = {config["benchmark"]["name"] for config in configs}
        comparable = not miniature and len(benchmarks) == 1
        points = points[points["benchmark"].isin(benchmarks)] if comparable else points.iloc[:0]
    return points, warnings


_DRAWN = ("scaling", "seeds", "gaps", "roc", "agreement", "captions")


def write_up(findings: Findings, points: pd.DataFrame, warnings: Sequence[str]) -> list[Table]:
    """Choose and word the tables of some findings; warnings are among the notes of each."""
    notes = [*findings.captions, *warnings]
    made = [contents.results(findings.results, notes)]
    if len(findings.seeds):
        made.append(contents.seeds(findings.seeds, notes))
    if len(findings.runs) > 1:
        made.append(contents.comparison(findings.comparison, notes))
        made.append(contents.matched(findings.matched, notes))
    if len(findings.rejections):
        paying = sentences(findings.payoffs, findings.ends)
        made.append(contents.rejections(findings.rejections, findings.ends, paying, notes))
    if len(findings.previews):
        made.append(contents.previews(findings.previews, notes))
    for make, frame in (
        (measures.failures, findings.failures),
        (measures.skills, findings.skills),
        (measures.dpg, findings.dpg),
        (measures.agreement, findings.agreement),
        (measures.peaks, findings.peaks),
        (measures.transfer, findings.transfer),
    ):
        if len(frame):
            made.append(make(frame, notes))
    made += [contents.gaps(findings.gaps, notes), contents.curves(findings.scaling, notes)]
    if len(points):
        made.append(contents.published(points, notes))
    return made


def draw(
    findings: Findings, points: pd.DataFrame, warnings: Sequence[str]
) -> tuple[list[Drawing], dict[str, bytes]]:
    """Draw all figures: for the page, and as files by name."""
    drawings: list[Drawing] = []
    files: dict[str, bytes] = {}
    labels = style.Labels(warnings, findings.captions)
    table = findings.scaling
    scores = "; ".join(f"{run}: {of_run}" for run, of_run in ends(table).items())

    def add(name: str, figure: Figure, words: str) -> None:
        style.settle(figure)
        drawing = style.svg(figure)
        files[f"figures/{name}.svg"] = drawing.encode(errors=_SHOWN)
        files[f"figures/{name}.png"] = style.png(figure)
        width, height = (round(96 * inches * 1.35) for inches in figure.get_size_inches())
        alt = f"{words} Micro scores: {scores}."
        drawings.append(Drawing(name, words, alt, drawing, width, height))

    with style.styled():
        add(
            "cost",
            figures.cost(table, points, labels),
            "Micro score over the realised mean cost of one selected image in draws, NFE, TFLOPs "
            "and device-seconds: all roles (generator, judge, scorer), and the generator alone.",
        )
        add(
            "scaling",
            figures.scaling(table, points, findings.seeds, labels),
            "Score over budget, micro and macro side by side, with 95% intervals.",
        )
        if (table["kind"] == "tag").any():
            add(
                "scaling-by-tag",
                figures.by_tag(table, points, labels),
                "Score over budget for each tag, with 95% intervals, on one scale.",
            )
        add(
            "oracle-gap",
            figures.gap(table, findings.gaps, labels),
            "What the judge leaves behind: micro score of an oracle, of the run's own selection "
            "and of a random draw from the same draws; and oracle minus own selection.",
        )
        if len(findings.roc):
            whole = findings.agreement[findings.agreement["tag"] == ""].set_index("run")["auc"]
            areas = {name: float(whole.get(name, np.nan)) for name in findings.names}
            add(
                "judge-roc",
                figures.roc(findings.roc, areas, labels),
                "Judge's score against the scorer: the share of right draws that score above a "
                "threshold over that of wrong ones.",
            )
    return drawings, files


def ends(table: pd.DataFrame) -> dict[Hashable, str]:
    """Return the first and the last micro score of each run that has any, in words."""
    own = table[table["own"] & (table["kind"] == "micro") & table["score"].notna()]
    return {
        run: f"{of['score'].iloc[0]:.3f} at budget {of['budget'].iloc[0]}, "
        f"{of['score'].iloc[-1]:.3f} at {of['budget'].iloc[-1]}"
        for run, of in own.groupby("run", sort=False)
    }


def _page_parts(findings: Findings, options: Options) -> dict[str, Any]:
    """Return what the page is made of beside drawings, tables and warnings."""
    chosen = gallery.choose(
        findings.curves, options.gallery, size=options.gallery_size, seed=options.seed
    )
    most = options.gallery_searches
    return {
        "title": "What did the compute buy?",
        "section": chart.section(findings),
        "reasons": answer.reasons(findings),
        "cards": chains.cards(findings.runs, findings.names, chosen, searches=most)
        if chosen
        else [],
        "runs": [
            run_facts(name, of.run, spent, of.notes)
            for name, of, spent in zip(
                findings.names, findings.curves, findings.spending, strict=True
            )
        ],
    }
