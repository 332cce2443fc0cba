"""Every cell of a report's tables, against the second implementation, over logs made at random."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.analysis import analyse
from harness.audit.audited_run import AuditedRun, Options
from harness.audit.checks.report import ENDS, KEYS
from harness.log.run_folder import RunFolder
from harness.runs.replay import budget_grid
from tests.audit.forging import Forger, Rows
from tests.reference import intervals
from tests.reference.selectors import none_of
from tests.reference.tables import Recount
from tests.runs import run, stub_plan
from tests.stubs import make_stub_suite

SEARCHES: list[dict[str, Any]] = [
    {"strategy": "best-of-n"},
    {"strategy": "best-of-n", "strategy_options": {"select": "first-accepted"}},
    {"strategy": "reflect"},
    {"strategy": "reflect-beam"},
    {"strategy": "explore-then-reflect"},
    {"strategy": "single"},
]


def differences(path: Path, seed: int = 0) -> list[str]:
    """Name every cell of a run's report in which the two implementations differ."""
    findings = analyse([path], seed=seed)
    audited = AuditedRun(RunFolder(path), Options(plugins=True, report_seed=seed))
    again = Recount(audited, budget_grid(audited.config.budget))
    tables = {
        "results": (findings.results, again.results()),
        "curves": (findings.scaling, again.curves()),
        "gap": (findings.gaps, again.gap()),
    }
    return [
        f"{name}: {difference}"
        for name, (frame, expected) in tables.items()
        for difference in _differences(frame, expected, KEYS[name])
    ]


def _differences(
    frame: pd.DataFrame, expected: dict[tuple[Any, ...], dict[str, Any]], keys: list[str]
) -> Iterator[str]:
    rows = {tuple(row[key] for key in keys): row for row in frame.to_dict("records")}
    yield from (f"row {key}" for key in rows.keys() ^ expected.keys())
    for key in rows.keys() & expected.keys():
        cells = {name: cell for name, cell in rows[key].items() if name not in (*keys, "run")}
        yield from (f"column {name}" for name in cells.keys() ^ expected[key].keys())
        for name in cells.keys() & expected[key].keys():
            one, other = cells[name], expected[key][name]
            near = ENDS if name in ("low", "high") else 1e-9
            if isinstance(other, str):
                same = one == other
            else:
                same = one == pytest.approx(other, rel=1e-9, abs=near, nan_ok=True)
            if not same:
                yield f"{name} of {key}: {one} and {other}"


def random_run(seed: int, folder: Path) -> Path:
    """Run a strategy over stub models that fail on some prompts, and make the log's numbers up.

    The columns of the scorer and of costs are drawn at random, missing values among them: no
    decision hangs on them, so the log stays one that its strategy could have left.
    """
    rng = random.Random(seed)
    suite, faults = make_stub_suite(folder)
    for role in ("generator", "judge", "scorer"):
        for word in rng.sample(range(10), rng.choice([0, 0, 1, 2])):
            faults.add(role, "error", f"on-thing {word}")
    ready = stub_plan(
        suite,
        **SEARCHES[seed % len(SEARCHES)],
        budget=rng.randint(2, 6),
        replicates=rng.randint(1, 2),
        seed=seed,
    )
    run(ready, folder / "run")
    share, graded, complete = rng.random(), rng.random() < 0.5, rng.random() < 0.5

    def invent(rows: Rows) -> None:
        for row in rows:
            if row["correct"] is not None:
                row["correct"] = rng.random() < share
                row["value"] = float(row["correct"]) or (rng.random() if graded else 0.0)
            for role in ("generator", "judge", "scorer"):
                if row[f"{role}_flops"] is not None:
                    row[f"{role}_device_seconds"] = rng.random()
                    row[f"{role}_nfe"] = rng.randint(0, 40)
                    row[f"{role}_flops"] = rng.random() * 1e12
                    if not complete and rng.random() < 0.02:
                        row[f"{role}_flops"] = None

    Forger(folder / "run").rewrite("candidates", invent)
    return folder / "run"


@pytest.mark.sampled(3)
@pytest.mark.usefixtures("import_stubs")
@pytest.mark.parametrize("seed", range(12))
def test_a_report_is_what_the_second_implementation_says(seed: int, tmp_path: Path) -> None:
    assert differences(random_run(seed, tmp_path), seed=seed) == []


@pytest.mark.usefixtures("import_stubs")
def test_the_comparison_sees_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = random_run(0, tmp_path)
    total = Recount._searches_total
    monkeypatch.setattr(Recount, "_searches_total", lambda self: total(self) + 1)
    result = differences(path)
    assert result and all(" searches_total of " in line for line in result)


def test_counting_subsets() -> None:
    assert none_of(0, 5, 3) == 1 and none_of(3, 5, 3) == 0
    assert none_of(1, 4, 1) == 3 / 4 and none_of(2, 4, 2) == 1 / 6


def test_the_bootstrap_is_scipy_s() -> None:
    """Other resamples, so the ends agree within the bootstrap's own noise."""
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).random(60) ** 3
    (own,) = intervals.bca([values[:, None]], 0)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", random_state=2)
    assert own == pytest.approx(tuple(theirs.confidence_interval), abs=0.01)
    assert intervals.bca([np.ones((5, 1))], 0) == [None]
    assert intervals.wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
