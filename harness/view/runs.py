"""The runs that the explorer shows, and what it reads of them.

Whatever is asked for is looked up among the runs that were named when it was started: a request
names a run by its number and an image by its pixel digest, never by a path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import pandas as pd
from cachetools import FIFOCache

from harness.analysis.comparison import prompt_keys
from harness.analysis.findings import findings_of
from harness.analysis.protocol import labels
from harness.log import store
from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.price import UNPRICED, Price
from harness.report import chains, chart
from harness.report.chains import Card
from harness.report.page import run_facts
from harness.runs.loading import load_run
from harness.runs.logged_run import LoggedRun
from harness.runs.money import spending, spent_by
from harness.runs.run_line import RunLine, run_line, state_of
from harness.runs.summary import Summary, summarise

PAGE = 25
"""Searches on one page."""

MOST_CACHED = 8
"""Runs, and charts, that stay in memory."""


@dataclass(frozen=True)
class Progress:
    """A run at this moment. Units: searches, draws, seconds; None where nobody can tell.

    Attributes:
        state: Of the run.
        searches: That ended.
        searches_total: That there will be.
        draws: In the log.
        draws_failed: Of these.
        rate: Draws a second over the last minutes of the log.
        seconds_left: At that rate, by searches.
        micro: Score and its interval's ends over the prompts whose searches ended.
        cost: By unit, over all roles: nfe, flops, device_seconds.
        spent: Device-hours, and what they cost, in words.
        fill: Share of computed rows of the generator that somebody asked for.
        retries: Failed tries of draws.
    """

    state: str
    searches: int
    searches_total: int
    draws: int
    draws_failed: int
    rate: float | None
    seconds_left: float | None
    micro: tuple[float, float, float] | None
    cost: Mapping[str, float | None]
    spent: str
    fill: float | None
    retries: int


def progress(folder: RunFolder, price: Price = UNPRICED) -> Progress:
    """Return how far a run is.

    Args:
        folder: The run's.
        price: What is paid.

    Raises:
        HarnessError: Its log is damaged.
    """
    manifest = Manifest.read(folder.manifest)
    summary = summarise(folder.path)
    state = state_of(folder, manifest)
    rate, pace = _rates(folder) if state == manifest.state == "running" else (None, None)
    left = summary.searches_total - summary.searches
    generator, micro = summary.cost.get("generator", {}), summary.micro
    rows = generator.get("rows")
    return Progress(
        state=state,
        searches=summary.searches,
        searches_total=summary.searches_total,
        draws=summary.draws,
        draws_failed=summary.draws_failed,
        rate=rate,
        seconds_left=left / pace if pace else None,
        micro=(micro.value, micro.low, micro.high) if micro else None,
        cost={unit: _total(summary, unit) for unit in ("nfe", "flops", "device_seconds")},
        spent=str(spending([(manifest, summary.cost)], price)),
        fill=summary.draws / rows if rows else None,
        retries=summary.retries,
    )


def _total(summary: Summary, unit: str) -> float | None:
    parts = [costs[unit] for costs in summary.cost.values()]
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


RECENT_SECONDS = 120.0


def _rates(folder: RunFolder) -> tuple[float | None, float | None]:
    """Return draws and ended searches a second over the log's last two minutes."""
    rates: list[float | None] = []
    for table in ("candidates", "searches"):
        times = store.read(folder.log, table, ["time"])["time"].drop_null().to_pandas()
        if len(times) < 2:
            rates.append(None)
            continue
        end = max(times.max(), pd.Timestamp(datetime.now(UTC)))
        recent = times[times >= end - pd.Timedelta(seconds=RECENT_SECONDS)]
        span = (end - min(recent.min(), end)).total_seconds() if len(recent) else 0.0
        rates.append(len(recent) / span if span > 0 else None)
    return rates[0], rates[1]


class Library:
    """Some runs by number. Has state: what was last read of each.

    What takes a number raises `KeyError` where there is no such run, and `HarnessError` where it
    cannot be read.

    Args:
        folders: The runs' folders.
        price: What is paid.
    """

    def __init__(self, folders: Sequence[RunFolder], price: Price = UNPRICED) -> None:
        self.folders, self.price = tuple(folders), price
        self._lock, self._drawing = Lock(), Lock()
        self._loaded: FIFOCache[int, tuple[Any, LoggedRun]] = FIFOCache(MOST_CACHED)
        self._sections: FIFOCache[tuple[int, ...], tuple[list[LoggedRun], dict[str, Any]]]
        self._sections = FIFOCache(MOST_CACHED)

    def lines(self) -> list[RunLine]:
        """Return a line for every run."""
        return [run_line(folder, self.price) for folder in self.folders]

    def folder(self, number: int) -> RunFolder:
        """Return a run's folder."""
        if not 0 <= number < len(self.folders):
            raise KeyError(number)
        return self.folders[number]

    def run(self, number: int) -> LoggedRun:
        """Return a run's ended searches, read again where its log has grown."""
        folder = self.folder(number)
        # Rows are never rewritten and shards never grow, so their names say what there is.
        mark = sorted(path.name for path in folder.log.glob("*"))
        with self._lock:
            loaded = self._loaded.get(number)
            if loaded is None or loaded[0] != mark:
                loaded = self._loaded[number] = (mark, load_run(folder.path))
        return loaded[1]

    def section(self, numbers: Sequence[int]) -> dict[str, Any]:
        """Return the chart of some runs: `harness.report.chart.section`, and its `warnings`.

        It is computed one at a time, and again only where a log has grown.

        Raises:
            HarnessError: They were not measured alike.
        """
        key, runs = tuple(numbers), [self.run(number) for number in numbers]
        with self._drawing:
            known = self._sections.get(key)
            # A run that was read again is another object.
            if known is None or [*map(id, known[0])] != [*map(id, runs)]:
                findings = findings_of(runs, price=self.price)
                made = {**chart.section(findings), "warnings": findings.warnings}
                known = self._sections[key] = (runs, made)
        return known[1]

    def facts(self, number: int) -> dict[str, Any]:
        """Return how a run was made: `harness.report.page.run_facts`."""
        run = self.run(number)
        return run_facts(run.folder.path.name, run, spent_by(run, self.price), [])

    def cards(
        self, numbers: Sequence[int], *, words: str = "", tag: str = "*", outcome: str = "*",
        page: int = 0,
    ) -> tuple[list[Card], int]:  # fmt: skip
        """Return the prompts of some runs that fit, with each run's searches of them.

        Args:
            numbers: The runs.
            words: Part of the prompt's text.
            tag: Its tag, or "*".
            outcome: Of one run: one of `chains.OUTCOMES`, that some search of the prompt has. Of
                two: one of `chains.PAIRS`. Or "*".
            page: From 0.

        Returns:
            The cards of one page, and how many prompts fit.
        """
        runs = [self.run(number) for number in numbers]
        keys = [prompt_keys([run])[0] for run in runs]
        rows: dict[str, list[int]] = {}
        for at, of_run in enumerate(keys):
            for row, key in enumerate(of_run):
                if at == 0 or str(key) in rows:
                    rows.setdefault(str(key), []).append(row)
        fits = _outcome_test(runs, outcome)
        chosen = [
            key
            for key, places in rows.items()
            if len(places) == len(runs)
            and words.lower() in str(runs[0].prompts["prompt"].iloc[places[0]]).lower()
            and tag in ("*", runs[0].prompts["tag"].iloc[places[0]])
            and fits(places)
        ]
        part = {key: ("shown",) for key in chosen[page * PAGE : (page + 1) * PAGE]}
        cards = chains.cards(runs, labels(runs), part) if part else []
        return cards, len(chosen)


def _outcome_test(runs: Sequence[LoggedRun], outcome: str) -> Callable[[Sequence[int]], bool]:
    """Return what says whether a prompt, by its row in each run, has an outcome."""
    if outcome == "*":
        return lambda places: True
    if len(runs) == 2:
        scores = [run.scores() for run in runs]
        return lambda places: (
            chains.pair_of(*(of[row] for of, row in zip(scores, places, strict=True))) == outcome
        )
    run = runs[0]
    searches = [
        chains.outcome_of(run, row, int(selected))
        for row, selected in enumerate(run.searches["selected"])
    ]
    having = {
        int(prompt)
        for prompt, name in zip(run.searches["prompt"], searches, strict=True)
        if name == outcome
    }
    return lambda places: places[0] in having
