"""Published scores beside measured ones, and why most of them may not be compared.

`results/published/BENCHMARK.csv` holds scores as printed, with their sources. A published point
stands beside a run only where prompts, scorer, resolution, generator and the kind of mean are
the same; otherwise the table says what is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import HarnessError
from harness.models.bundled import is_miniature
from harness.registry import BENCHMARKS
from harness.runs.logged_run import LoggedRun
from harness.runs.measurement import resolution

_NO_TAGS = (
    "method", "base_model", "n", "selection", "overall_reported", "overall_kind", "source",
    "benchmark",
)  # fmt: skip
"""Columns of the published numbers that hold no scores of a tag."""

GENERATORS = {
    "Efficient-Large-Model/Sana_1600M_1024px_MultiLing_diffusers": ("SANA-1.0-1.6B", 1024),
}
"""Checkpoints whose published name and resolution are known."""

ALL_DRAWN = ("base", "best-of-N", "top-4-of-N")
"""Methods that make every draw they are given; others may stop early, and print the limit only."""

_FIRST_ACCEPTED = "arXiv 2503.12271 "
"""How the sources begin of a best-of-N that stops at the first image its judge accepts."""

_PLACES = (
    Path(__file__).resolve().parents[2] / "results" / "published",
    Path(__file__).resolve().parent / "published",
)


def load_published() -> pd.DataFrame:
    """Return the published numbers as printed, with their `benchmark`: the name of their file.

    Raises:
        HarnessError: There is no file, or one is not readable.
    """
    folder = next((place for place in _PLACES if place.is_dir()), _PLACES[0])
    frames = []
    try:
        for path in sorted(folder.glob("*.csv")):
            frame = pd.read_csv(path, keep_default_na=False, na_values=[""])
            frames.append(frame.assign(benchmark=path.stem))
        return pd.concat(frames, ignore_index=True)
    except (OSError, ValueError) as error:
        raise HarnessError(f"the published numbers cannot be read: {error}") from error


def stops_early(method: str, source: str) -> bool:
    """True if a published method may make fewer draws than it is given."""
    early = method == "best-of-N" and source.startswith(_FIRST_ACCEPTED)
    return early or method not in ALL_DRAWN


def published_points(frame: pd.DataFrame, runs: Sequence[LoggedRun]) -> pd.DataFrame:
    """Published scores as points on a score-over-draws figure.

    A macro score is the printed overall where the source says it is one, else the mean of the
    printed tags where all are given.

    Args:
        frame: As `load_published` gives it.
        runs: What they would stand beside.

    Returns:
        One row a point: `method`, `generator`, `selection`, `n` (the budget), `draws` (those
        really made; NaN where the method may stop early), `kind` (micro, macro, tag), `tag`,
        `score`, `source`, `derived` (whether computed from printed tags), `benchmark`, `reason`
        (why it may not be compared with these runs; "" where it may).
    """
    rows: list[dict[str, Any]] = []
    tag_names = [name for name in frame.columns if name not in _NO_TAGS]
    pairs = {(str(m), str(b)) for m, b in zip(frame["base_model"], frame["benchmark"], strict=True)}
    why_of = {pair: reasons(*pair, runs) for pair in pairs}
    for entry in frame.to_dict("records"):
        why = why_of[str(entry["base_model"]), str(entry["benchmark"])]
        early = stops_early(str(entry["method"]), str(entry["source"]))
        base = {
            "method": entry["method"],
            "generator": entry["base_model"],
            "selection": entry["selection"],
            "n": float(entry["n"]),
            "draws": float("nan") if early else float(entry["n"]),
            "source": entry["source"],
            "benchmark": entry["benchmark"],
        }

        tags = {tag: float(entry[tag]) for tag in tag_names if pd.notna(entry[tag])}
        overall, points = entry["overall_kind"], []
        if pd.notna(entry["overall_reported"]):
            kind, reason = overall, why
            if overall not in ("micro", "macro"):
                unsaid = "whether the printed overall is micro or macro is not known"
                kind, reason = "unknown", f"{unsaid}; {why}" if why else unsaid
            points.append((kind, "", float(entry["overall_reported"]), False, reason))
        if overall != "macro" and len(tags) == len(tag_names):
            points.append(("macro", "", sum(tags.values()) / len(tags), True, why))
        points += [("tag", tag, score, False, why) for tag, score in tags.items()]
        names = ("kind", "tag", "score", "derived", "reason")
        rows += [base | dict(zip(names, point, strict=True)) for point in points]
    columns = ["method", "generator", "selection", "n", "draws", "kind", "tag", "score", "source",
               "derived", "benchmark", "reason"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def reasons(generator: str, benchmark: str, runs: Sequence[LoggedRun]) -> str:
    """Return why a published score of a generator is not comparable with some runs, or ""."""
    differences: dict[str, None] = {}
    for run in runs:
        parts = published_differences(generator, benchmark, run)
        # Where the models are miniatures nothing else matters.
        differences |= dict.fromkeys([parts["models"]] if "models" in parts else parts.values())
    return "; ".join(differences)


def published_differences(generator: str, benchmark: str, run: LoggedRun) -> dict[str, str]:
    """In which parts of the protocol a run differs from a benchmark's published scores, and how.

    Args:
        generator: As it is named in the published numbers.
        benchmark: Whose scores they are.
        run: The run.

    Returns:
        By the name of the part: what differs. Parts that agree are not in it.
    """
    config = run.manifest.config
    scorer = config["scorer"] or {"checkpoints": {}}
    differences = {}
    if is_miniature(config):
        differences["models"] = "the run is of miniature models"
    if config["benchmark"]["name"] != benchmark:
        differences["prompt set"] = "another benchmark"
    elif run.coverage is None:
        differences["prompt set"] = "the run's prompts are not known any more"
    elif run.coverage.sentence:
        differences["prompt set"] = run.coverage.sentence
    parts = scorer["checkpoints"]
    official: Mapping[str, str] = BENCHMARKS.get(benchmark).parts
    if any(parts.get(part) != reference for part, reference in official.items()):
        differences["detector"] = "the scorer is not known to be the benchmark's own"
    known = [GENERATORS[r] for r in config["generator"]["checkpoints"].values() if r in GENERATORS]
    name, side = known[0] if known else ("", 0)
    if name != generator:
        differences["generator"] = (
            "another generator" if name else "the run's generator is not a published one"
        )
    side, own = dict(GENERATORS.values()).get(generator, side), resolution(run.manifest)
    if side and own != frozenset({(side, side)}):
        differences["resolution"] = (
            "another resolution" if own else "the resolution is not on record"
        )
    if len(run.searches) < run.searches_total:
        differences["completeness"] = "the run is not finished"
    elif run.searches_scored < len(run.searches):
        differences["completeness"] = "not all images could be scored"
    return differences
