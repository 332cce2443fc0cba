"""From run folders to a folder with the page, the figures and the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from harness.analysis.comparison import comparison_table
from harness.analysis.curve_tables import curve_table, gap_table
from harness.analysis.curves import RunCurves, all_curves
from harness.analysis.logged_run import LoggedRun, load_run
from harness.analysis.matched import matched_table
from harness.analysis.protocol import caption, check_alike, labels, warnings
from harness.analysis.published import load_published, published_points
from harness.analysis.run_table import runs_table
from harness.errors import UsageError
from harness.log.files import make_folder, write_atomically
from harness.log.run_folder import RunFolder
from harness.report import contents, figures, gallery, style, tables
from harness.report.page import Drawing, page, run_facts
from harness.report.tables import Table

PUBLISHED_ON_MINIATURE = (
    "Published points are drawn beside miniature models because that was asked for. Models, "
    "resolution and scorer differ; the distance between them means nothing."
)


@dataclass(frozen=True)
class Options:
    """What a report may be asked to do otherwise.

    Attributes:
        force: Compare runs of unlike protocols, with a warning.
        published: Draw published points even beside miniature models or another benchmark.
        gallery: Which prompts to show: of "worst", "best", "gain", "random", "all", "none".
        gallery_size: Prompts for each.
        seed: Of bootstraps, sign flips and random choices.
    """

    force: bool = False
    published: bool = False
    gallery: tuple[str, ...] = gallery.CHOICES
    gallery_size: int = 6
    seed: int = 0


@dataclass(frozen=True)
class Findings:
    """All that is computed for a report, before anything is drawn.

    Attributes:
        runs: The runs.
        names: What each is called.
        curves: Of each.
        tables: For people and machines.
        frame: Curves as one frame.
        gaps: Oracle minus own selection.
        points: Published points, none where they are not to be drawn.
        warnings: What must be read first.
        captions: How each run was measured.
    """

    runs: list[LoggedRun]
    names: list[str]
    curves: list[RunCurves]
    tables: list[Table]
    frame: pd.DataFrame
    gaps: pd.DataFrame
    points: pd.DataFrame
    warnings: list[str]
    captions: list[str]


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        page: The HTML file.
        files: All files, the page included.
        findings: What is in them.
    """

    page: Path
    files: list[Path]
    findings: Findings


def report(paths: Sequence[Path], out: Path, options: Options | None = None) -> Report:
    """Write the report of some runs.

    Args:
        paths: The runs' folders.
        out: Where to; made if need be, files of the same names are replaced.
        options: See `Options`.

    Raises:
        UsageError: A folder is no run with scores, or protocols differ and were not forced, or
            `out` is a run itself.
        HarnessError: A log is damaged, or a file cannot be written.
    """
    options = options or Options()
    if RunFolder(out).is_run:
        raise UsageError(f"{out} is a run", "give --out a folder of its own")
    findings = find([load_run(path) for path in paths], options)
    drawings, files = draw(findings)
    for table in findings.tables:
        for suffix, write in _FORMATS.items():
            files[f"tables/{table.name}.{suffix}"] = write(table).encode()
    files["index.html"] = _page(findings, drawings, options).encode()
    written = []
    for name, data in files.items():
        path = out / name
        make_folder(path.parent)
        write_atomically(path, data, durable=False)
        written.append(path)
    return Report(out / "index.html", written, findings)


_FORMATS: dict[str, Callable[[Table], str]] = {
    "csv": tables.csv,
    "md": tables.markdown,
    "tex": tables.latex,
}


def find(runs: list[LoggedRun], options: Options) -> Findings:
    """Compute everything that a report holds.

    Raises:
        UsageError: Protocols differ and were not forced.
        HarnessError: A strategy is not the one that ran.
    """
    names = labels(runs)
    said = [*warnings(runs), *check_alike(runs, force=options.force)]
    curves = all_curves(runs)
    seed = options.seed
    points = published_points(load_published(), runs)
    miniature = any(run.manifest.config["miniature"] for run in runs)
    geneval = all(run.manifest.config["benchmark"]["name"] == "geneval" for run in runs)
    if options.published and miniature:
        said.append(PUBLISHED_ON_MINIATURE)
    if not options.published and (miniature or not geneval):
        points = points.iloc[:0]
    captions = [caption(name, run) for name, run in zip(names, runs, strict=True)]
    for name, of in zip(names, curves, strict=True):
        captions += [f"{name}: {note}" for note in of.notes]
    notes = [*captions, *said]
    frame, gaps = curve_table(curves, names, seed=seed), gap_table(curves, names, seed=seed)
    made = [contents.results(runs_table(runs, names, seed=seed), notes)]
    if len(runs) > 1:
        made.append(contents.comparison(comparison_table(runs, names, seed=seed), notes))
        made.append(contents.matched(matched_table(curves, names, seed=seed), notes))
    made += [contents.gaps(gaps, notes), contents.curves(frame, notes)]
    if len(points):
        made.append(contents.published(points, notes))
    return Findings(runs, names, curves, made, frame, gaps, points, said, captions)


def draw(findings: Findings) -> tuple[list[Drawing], dict[str, bytes]]:
    """Draw all figures: for the page, and as files by name."""
    drawings: list[Drawing] = []
    files: dict[str, bytes] = {}
    said = {"warnings": findings.warnings, "captions": findings.captions}
    table, points = findings.frame, findings.points

    def add(name: str, figure: Figure, words: str) -> None:
        style.settle(figure)
        drawing = style.svg(figure)
        files[f"figures/{name}.svg"] = drawing.encode()
        files[f"figures/{name}.png"] = style.png(figure)
        width, height = (round(96 * inches * 1.35) for inches in figure.get_size_inches())
        alt = f"{words} {_ends(table)}"
        drawings.append(Drawing(name, words, alt, drawing, width, height))

    with style.styled():
        add(
            "scaling",
            figures.scaling(table, points, **said),
            "Score over budget, micro and macro side by side, with 95% intervals.",
        )
        if (table["kind"] == "tag").any():
            add(
                "scaling-by-tag",
                figures.by_tag(table, points, **said),
                "Score over budget for each tag, with 95% intervals, on one scale.",
            )
        add(
            "cost",
            figures.cost(table, **said),
            "Micro score over the realised mean cost of one selected image in draws, NFE, TFLOPs "
            "and device-seconds: all roles (generator, judge, scorer), and the generator alone.",
        )
        add(
            "oracle-gap",
            figures.gap(table, findings.gaps, **said),
            "What the judge leaves behind: micro score of an oracle, of the run's own selection "
            "and of a random draw from the same draws; and oracle minus own selection.",
        )
    return drawings, files


def _ends(table: pd.DataFrame) -> str:
    own = table[table["own"] & (table["kind"] == "micro") & table["score"].notna()]
    parts = [
        f"{run}: {of['score'].iloc[0]:.3f} at budget {of['budget'].iloc[0]}, "
        f"{of['score'].iloc[-1]:.3f} at {of['budget'].iloc[-1]}"
        for run, of in own.groupby("run", sort=False)
    ]
    return f"Micro scores: {'; '.join(parts)}."


def _page(findings: Findings, drawings: Sequence[Drawing], options: Options) -> str:
    chosen = gallery.choose(
        findings.curves, options.gallery, size=options.gallery_size, seed=options.seed
    )
    shown = gallery.cards(findings.runs, findings.names, chosen) if chosen else []
    return page(
        title="What did the compute buy?",
        subtitle="; ".join(findings.captions),
        warnings=findings.warnings,
        drawings=drawings,
        tables=findings.tables,
        cards=shown,
        runs=[
            run_facts(name, of.run, of.notes)
            for name, of in zip(findings.names, findings.curves, strict=True)
        ],
    )
