"""How much faster `score` is than a loop that opens, judges and writes down one image at a time.

Both sides use the same checkpoints, number format and threads, loaded beforehand and not counted.
They take turns, round by round, in one process, so that a busy machine slows both. The plain side
runs its networks on one image, as such loops do; ours is the whole command but for loading: it
lists and checks files, reads them in threads, fills batches, writes the log and the results.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from benchmarks.geneval.scorer import GenEvalScorer, load_scorer
from harness.engine.executors.inline import InlineExecutor
from harness.engine.launch import Execution
from harness.engine.worker import Setup
from harness.log.run_folder import RunFolder
from harness.records import Role
from harness.scoring.plan import ScoringPlan
from harness.scoring.results import write_results
from harness.scoring.scores import summarise_scores
from harness.scoring.session import score

_Round = tuple[float, float, list[tuple[bool, str]]]
"""Seconds, of these inside the scorer, and (correct, reason) of every image."""


@dataclass(frozen=True)
class Side:
    """One way of scoring the images.

    Attributes:
        seconds: Of each round.
        models: Of these, seconds inside the scorer: networks, crops and rules.
        images: Images a round.
    """

    seconds: tuple[float, ...]
    models: tuple[float, ...]
    images: int

    @property
    def per_second(self) -> float:
        """Images a second, in the median round."""
        return self.images / statistics.median(self.seconds)

    @property
    def model_ms(self) -> float:
        """Milliseconds of an image inside the scorer, in the median round."""
        return 1000 * statistics.median(self.models) / self.images

    @property
    def other_ms(self) -> float:
        """Milliseconds of an image outside it that nothing overlapped, in the median round."""
        rest = [a - b for a, b in zip(self.seconds, self.models, strict=True)]
        return 1000 * statistics.median(rest) / self.images


@dataclass(frozen=True)
class Measured:
    """Both sides.

    Attributes:
        plain: The loop.
        ours: This project.
        unlike: Images on which the two disagree about correct or reason. At another batch
            shape the last bits of a network's answer may differ, and a verdict can hang on them.
    """

    plain: Side
    ours: Side
    unlike: int

    @property
    def ratio(self) -> float:
        """How many times as many images a second."""
        return self.ours.per_second / self.plain.per_second


def measure(
    ready: ScoringPlan,
    *,
    rounds: int,
    device: str,
    observe: Callable[[int, int], None] = lambda done, total: None,
) -> Measured:
    """Score a folder of images both ways, several times each, after one warm-up of both.

    Args:
        ready: What to score, by what.
        rounds: How often.
        device: A torch device.
        observe: Called with how many rounds are done, of how many.

    Raises:
        HarnessError: A model cannot be loaded, or an image cannot be scored.
    """
    executor = _Loaded(Setup(ready.plan.config, ready.plan.paths, device), [Role.SCORER])
    executor.start()
    alone = _load_alone(ready, device)
    plain: list[_Round] = []
    ours: list[_Round] = []
    for number in range(rounds + 1):
        plain.append(_plain(ready, alone))
        ours.append(_ours(ready, executor))
        observe(number, rounds)
    pairs = zip(plain[-1][2], ours[-1][2], strict=True)
    return Measured(
        plain=_side(plain[1:], len(ready.files)),
        ours=_side(ours[1:], len(ready.files)),
        unlike=sum(one != other for one, other in pairs),
    )


class _Loaded(InlineExecutor):
    """Keeps its models from one session to the next, since loading is not what is measured."""

    def start(self) -> None:
        if not self._workers:
            super().start()

    def close(self) -> None:
        return


def _side(rounds: list[_Round], images: int) -> Side:
    return Side(tuple(r[0] for r in rounds), tuple(r[1] for r in rounds), images)


def _load_alone(ready: ScoringPlan, device: str) -> GenEvalScorer:
    spec = ready.plan.config.scorer
    assert spec is not None
    settings = {**spec.settings, "dtype": spec.dtype, "batch_size": 1}
    return load_scorer(ready.plan.paths[Role.SCORER], settings, device)


def _plain(ready: ScoringPlan, scorer: GenEvalScorer) -> _Round:
    started, inside, found = time.perf_counter(), 0.0, []
    for file in ready.files:
        with Pillow.open(file.path, formats=["PNG", "JPEG"]) as image:
            pixels = np.asarray(image.convert("RGB"))
        before = time.perf_counter()
        [(verdict, _)] = scorer.score([file.prompt], [pixels])
        inside += time.perf_counter() - before
        found.append((verdict.correct, verdict.reason))
    return time.perf_counter() - started, inside, found


def _ours(ready: ScoringPlan, executor: InlineExecutor) -> _Round:
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(Path(temporary) / "out")
        started = time.perf_counter()
        score(ready, Execution(executor="inline"), folder, command="bench", executor=executor)
        results = write_results(folder, ready.root)
        seconds = time.perf_counter() - started
        lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
        inside = summarise_scores(folder).device_seconds
    return seconds, inside, [(line["correct"], line["reason"]) for line in lines]
