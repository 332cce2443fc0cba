from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.bench.score import Side, measure
from harness.scoring.plan import ScoringAsk, plan_scoring
from tests.terminal import Terminal


def test_both_sides_score_the_same_images(images: Path, tiny_suite: Path) -> None:
    ready = plan_scoring(ScoringAsk(images, model=str(tiny_suite), threads=1))
    found = measure(ready, rounds=2, device="cpu")
    assert found.unlike == 0
    for side in (found.plain, found.ours):
        assert side.images == len(ready.files) and len(side.seconds) == 2
        assert all(
            0 < inside < whole for inside, whole in zip(side.models, side.seconds, strict=True)
        )
    assert found.ratio == pytest.approx(found.ours.per_second / found.plain.per_second)


def test_medians() -> None:
    side = Side((1.0, 4.0, 2.0), (0.5, 1.0, 1.5), 10)
    assert side.per_second == 5.0
    assert (side.model_ms, side.other_ms) == (100.0, 50.0)


def test_bench_score(harness: Terminal, images: Path, tiny_suite: Path) -> None:
    command = ["bench", "score", images, "--model", tiny_suite, "--rounds", 1, "--threads", 1]
    assert harness(*command) == 0
    assert re.search(r"one at a time +[\d.]+ images/s", harness.out)
    assert re.search(r"batches of 4 +[\d.]+ images/s", harness.out)
    assert "0 verdicts differ" in harness.out
    assert harness("bench", "score", "nowhere") == 2
