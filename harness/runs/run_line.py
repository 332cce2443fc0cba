"""A run in one line: state, progress, score; what `ls runs` and the explorer list."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.log.files import check_entries, explain
from harness.log.lock import is_held
from harness.log.manifest import FINISHED, Manifest
from harness.log.run_folder import RunFolder
from harness.models.bundled import is_miniature, suite_name
from harness.price import UNPRICED, Price
from harness.runs.loading import ended
from harness.runs.money import Spending, spending
from harness.runs.summary import logged_cost
from harness.runs.wording import with_interval
from harness.statistics.intervals import mean_interval

LARGEST_LOG = 8 * 2**20
"""Bytes of the largest log that is read for a line, which takes some seconds."""

MOST_PROMPTS = 2000
"""Prompts of the largest run whose interval is computed for it, which takes half a second."""

LONGEST_TEXT = 300

STOPPED, UNREADABLE = "stopped", "unreadable"


@dataclass(frozen=True)
class RunLine:
    """A run as it is listed; texts may hold anything that its folder holds.

    Attributes:
        path: Its folder.
        state: The manifest's; "stopped" if whoever drove it is gone, or "unreadable".
        created: Day it was made, or "–".
        searches: "n of N" that ended.
        score: Micro score with its 95% interval, or "–".
        cost: FLOPs, device-hours and money of all roles, verification included, or "–".
        seed: Its seed, or "–".
        text: Strategy, budget, benchmark and models; what is wrong with it first.
        time: When it was made, to sort by; "" if nobody knows.
        micro: Its score, to sort by; None if nobody knows.
        tflops: Its cost, to sort by; None if a part of it is unknown.
    """

    path: str
    state: str
    created: str = "–"
    searches: str = "–"
    score: str = "–"
    cost: str = "–"
    seed: str = "–"
    text: str = ""
    time: str = ""
    micro: float | None = None
    tflops: float | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """Its cells in order."""
        return (
            self.path, self.state, self.created, self.searches, self.score, self.cost, self.seed,
            self.text,
        )  # fmt: skip


SORTED_BY: Mapping[str, Callable[[RunLine], Any]] = {
    "name": lambda line: line.path,
    "score": lambda line: (line.micro is None, -(line.micro or 0.0), line.path),
    "cost": lambda line: (line.tflops is None, line.tflops or 0.0, line.path),
    "date": lambda line: (not line.time, [-ord(character) for character in line.time], line.path),
}
"""Orders of a list of runs: by name, the best, the cheapest or the newest first; what is unknown
last."""


def run_line(folder: RunFolder, price: Price = UNPRICED) -> RunLine:
    """Return a run's line, with what it cost at a price; what cannot be read is said in it."""
    path = str(folder.path)
    try:
        check_entries(folder.path)
        manifest = Manifest.read(folder.manifest)
        config = manifest.config
        suite = f"{suite_name(config)}{' (miniature)' if is_miniature(config) else ''}"
    except HarnessError as error:
        return RunLine(path, UNREADABLE, text=_short(error.message))
    strategy = config["strategy"]
    options = ", ".join(f"{name}={value}" for name, value in strategy["options"].items())
    text = (
        f"{strategy['name']}{f' ({options})' if options else ''} · budget {config['budget']} · "
        f"{config['benchmark']['name']} · {suite}"
    )
    total = manifest.prompt_set.count * config["replicates"]
    line = RunLine(
        path,
        state_of(folder, manifest),
        manifest.created[:10] or "–",
        f"? of {total}",
        seed=str(config["seed"]),
        text=_short(text),
        time=manifest.created,
    )
    try:
        size = _log_bytes(folder)
        if size > LARGEST_LOG:
            text = f"log of {size / 2**20:.0f} MB, which `show` reads · {text}"
            return replace(line, text=_short(text))
        searches, micro, score = _result(folder, manifest)
        tflops, spent = _spent(folder, manifest, price)
    except HarnessError as error:
        return replace(line, text=_short(f"{error.message} · {text}"))
    parts = [] if tflops is None else [f"{tflops:.3g} TFLOPs"]
    if price != UNPRICED:
        parts.append(str(spent))
    elif spent.hours > 0:
        parts.append(f"{spent.hours:.3g} device-h")
    cost = ", ".join(parts) or "–"
    return replace(
        line, searches=f"{searches} of {total}", score=score, cost=cost, micro=micro, tflops=tflops
    )


def state_of(folder: RunFolder, manifest: Manifest) -> str:
    """Return a run's state: its manifest's, or "stopped" where nobody drives it any more."""
    if manifest.state != FINISHED and not is_held(folder.path):
        return STOPPED
    return manifest.state


def _result(folder: RunFolder, manifest: Manifest) -> tuple[int, float | None, str]:
    """Return how many searches of a run have ended, and its micro score as `show` has it."""
    run = ended(folder, manifest)
    if run is None:
        return 0, None, "–"
    by_prompt = run.scores()
    scores = by_prompt[np.isfinite(by_prompt)].tolist()
    if not manifest.config["scorer"] or not scores:
        return len(run.searches), None, "–"
    if len(scores) > MOST_PROMPTS:
        mean = sum(scores) / len(scores)
        return len(run.searches), mean, f"{mean:.3f} (–)"
    micro = mean_interval(scores)
    return len(run.searches), micro.value, with_interval(micro.value, micro.low, micro.high)


def _spent(folder: RunFolder, manifest: Manifest, price: Price) -> tuple[float | None, Spending]:
    """Return TFLOPs and money of a run's draws and replies; None if a part is unknown."""
    cost = logged_cost(folder, manifest)
    flops = [of_role["flops"] for of_role in cost.values()]
    known = [part for part in flops if part is not None and math.isfinite(part)]
    whole = len(known) == len(flops) and sum(known) > 0
    return sum(known) / 1e12 if whole else None, spending([(manifest, cost)], price)


def _log_bytes(folder: RunFolder) -> int:
    """Return the size of a run's log on this machine's disk."""
    size = 0
    try:
        with os.scandir(str(folder.log)) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # merged by its driver meanwhile
                    size += entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise explain(error, folder.log) from error
    return size


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
