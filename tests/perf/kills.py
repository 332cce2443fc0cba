"""Kills the driver at random moments and resumes, until the run is done: is anything lost?

The moments are drawn from a seed, as numbers of candidates and a pause after them, so that each
kill hits a run that is under way. The kill is SIGKILL: no handler runs, no buffer is written.
"""

from __future__ import annotations

import itertools
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import HarnessError
from harness.log import store
from harness.log.run_folder import RunFolder
from harness.log.schema import TABLES, content
from tests.perf.driver import Count, DriverRun
from tests.terminal import ROOT

POLL_SECONDS = 0.005
PAUSE_SECONDS = 0.2
"""The longest pause between the candidate that sets off a kill and the kill."""


@dataclass(frozen=True)
class Kills:
    """What the kills cost.

    Attributes:
        kills: Drivers killed.
        idle_kills: Of these, how many had drawn nothing yet.
        candidates: Rows of the log.
        drawn: Candidates that all drivers drew together, those whose rows were lost included.
        rows_equal: Whether the log is the undisturbed run's.
        images_equal: Whether the images kept are.
        whole_seconds: What the undisturbed run took.
        seconds: What the disturbed one took, all drivers together.
        starting_seconds: Of these, until the drivers' loops began.
    """

    kills: int
    idle_kills: int
    candidates: int
    drawn: int
    rows_equal: bool
    images_equal: bool
    whole_seconds: float
    seconds: float
    starting_seconds: float

    @property
    def repeated(self) -> int:
        """Candidates drawn more than once."""
        return self.drawn - self.candidates


def kill_again_and_again(
    folder: Path,
    *,
    kills: int,
    run: DriverRun,
    seed: int = 0,
    observe: Callable[[int, int], None] = lambda done, total: None,
) -> Kills:
    """Do a run undisturbed, then the same run with its driver killed again and again.

    Args:
        folder: Where both runs go.
        kills: How often.
        run: What the drivers work on; `folder` and `count` are set here.
        seed: Of the moments.
        observe: Called with how many drivers have ended, of how many.

    Raises:
        HarnessError: A driver failed by itself.
    """
    whole = _Drivers(folder / "whole", run)
    whole.session(None)
    observe(1, kills + 2)
    disturbed = _Drivers(folder / "disturbed", run)
    rng = random.Random(seed)
    total = whole.drawn
    # Cut at random points of the first three quarters, since a driver goes on a little beyond its
    # point, and the run is not to end before the last kill. Short runs get short pauses likewise.
    pause = min(PAUSE_SECONDS, (whole.seconds - whole.starting_seconds) / (4 * (kills + 1)))
    points = [0, *sorted(rng.randrange(3 * total // 4) for _ in range(kills))]
    for number, (last, point) in enumerate(itertools.pairwise(points), start=2):
        disturbed.session((point - last, rng.uniform(0, pause)))
        observe(number, kills + 2)
    disturbed.session(None)
    observe(kills + 2, kills + 2)
    logs = [RunFolder(drivers.folder).log for drivers in (whole, disturbed)]
    return Kills(
        kills=disturbed.kills,
        idle_kills=disturbed.idle_kills,
        candidates=store.read(logs[1], "candidates", ["draw_id"]).num_rows,
        drawn=disturbed.drawn,
        rows_equal=all(
            content(store.read(logs[0], table)).equals(content(store.read(logs[1], table)))
            for table in TABLES
        ),
        images_equal=_images(whole.folder) == _images(disturbed.folder),
        whole_seconds=whole.seconds,
        seconds=disturbed.seconds,
        starting_seconds=disturbed.starting_seconds,
    )


class _Drivers:
    """Drivers of one run, one after another. Has state: what they came to."""

    def __init__(self, folder: Path, run: DriverRun) -> None:
        self.folder = folder
        self._count = folder.with_suffix(".count")
        self._run = replace(run, folder=str(folder), count=str(self._count))
        self.kills = self.idle_kills = self.drawn = 0
        self.seconds = self.starting_seconds = 0.0

    def session(self, moment: tuple[int, float] | None) -> None:
        """Run a driver, until its end or until it has drawn so many and a pause has passed."""
        self._count.unlink(missing_ok=True)
        started = time.monotonic()
        with self._count.with_suffix(".err").open("w+", encoding="utf-8") as errors:
            process = subprocess.Popen(self._run.command, stderr=errors, cwd=ROOT)
            try:
                if moment is None:
                    process.wait()
                else:
                    self._wait(process, *moment)
            finally:
                killed = process.poll() is None
                process.kill()
                process.wait()
            errors.seek(0)
            if not killed and process.returncode:
                raise HarnessError(f"a driver failed by itself: {errors.read().strip()[-2000:]}")
        ended, count = time.monotonic(), Count.read(self._count)
        self.kills += killed
        self.idle_kills += killed and not count.drawn
        self.drawn += count.drawn
        self.seconds += ended - started
        self.starting_seconds += (count.began or ended) - started

    def _wait(self, process: subprocess.Popen[bytes], drawn: int, pause: float) -> None:
        while process.poll() is None and Count.read(self._count).drawn < drawn:
            time.sleep(POLL_SECONDS)
        time.sleep(pause)


def _images(folder: Path) -> set[str]:
    return {path.name for path in RunFolder(folder).images.glob("*/*")}
