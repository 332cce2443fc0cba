"""A judge that looks through the scorer's checkpoints, by whatever name and however disguised."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.models.checkpoints import BUNDLED
from harness.models.leakage import Shared, shared, unread, warning
from harness.plan import Ask, plan
from tests.models.disguises import DISGUISES

OWN = {"detector": "a", "colors": "b"}
SCORERS = {"detector": "c", "colors": "d"}


def config(judge: dict[str, str], kind: str = "detector", **values: Any) -> dict[str, Any]:
    parts = [("judge", judge), ("scorer", SCORERS)]
    return {
        "oracle": False,
        "judge": {"kind": kind, "checkpoints": {part: "/x" for part in judge}},
        "scorer": {"kind": "", "checkpoints": {part: "/y" for part in SCORERS}},
        "digests": {f"{role}.{part}": value for role, of in parts for part, value in of.items()},
        **values,
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (config(OWN), Shared((), False)),
        (config(SCORERS), Shared(("detector", "colors"), True)),
        (config(OWN | {"detector": "c"}), Shared(("detector",), True)),
        (config(OWN | {"colors": "d"}), Shared(("colors",), False)),
        (config({"model": "a", "processor": "d"}, "vlm"), Shared(("processor",), False)),
        (config({"model": "c", "processor": "a"}, "vlm"), Shared(("model",), True)),
        # The part that decides is not there by its name, or its name is not known.
        (config({"main": "c", "more": "a"}), Shared(("main",), True)),
        (config({"main": "c", "more": "a"}, "somebodys:Judge"), Shared(("main",), True)),
        (config({"main": "c", "more": "a"}, "not-installed"), Shared(("main",), True)),
        (config({}, "none"), Shared((), False)),
        (config(SCORERS, scorer=None), Shared((), False)),
        # Without digests the references say what is the same.
        (config(OWN, digests={}), Shared((), False)),
    ],
)
def test_what_is_shared_and_whether_it_decides(fields: dict[str, Any], expected: Shared) -> None:
    assert shared(fields) == expected
    assert bool(warning(fields)) is expected.deciding


def test_an_oracle_has_its_own_label() -> None:
    assert warning(config(SCORERS)) and not warning(config(SCORERS, oracle=True))


@pytest.mark.parametrize(
    ("asked", "deciding"),
    [
        ({}, False),
        ({"judge": "detector=bundled:detector"}, True),
        ({"scorer": {"colors": "bundled:judge_colors"}}, False),
        ({"scorer": {"detector": "bundled:judge", "colors": "bundled:judge_colors"}}, True),
    ],
)
def test_the_miniature_s_judge_and_scorer_exchange_checkpoints(
    asked: dict[str, Any], deciding: bool
) -> None:
    config = plan(Ask(limit=1, **asked)).config
    assert not config.oracle
    assert shared(config.model_dump(mode="json")).deciding is deciding


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
def test_a_disguised_copy_of_the_scorer_s_detector_is_found(
    tmp_path: Path, disguise: Callable[[Path], None]
) -> None:
    copy = tmp_path / "mine"
    shutil.copytree(BUNDLED / "detector", copy)
    disguise(copy)
    fields = plan(Ask(limit=1, judge=f"detector={copy}")).config.model_dump(mode="json")
    assert shared(fields) == Shared(("detector",), True)
    assert unread(fields) == []
    assert "detector" in warning(fields)


def test_weights_that_are_not_the_run_s_prove_nothing(tmp_path: Path) -> None:
    """The folder of that name has been given the scorer's detector since."""
    copy = tmp_path / "mine"
    shutil.copytree(BUNDLED / "judge", copy)
    fields = plan(Ask(limit=1, judge=f"detector={copy}")).config.model_dump(mode="json")
    shutil.copytree(BUNDLED / "detector", copy, dirs_exist_ok=True)
    assert shared(fields) == Shared((), False)
    assert unread(fields) == ["judge.detector"]


def test_what_is_not_here_is_compared_by_digest(tmp_path: Path) -> None:
    fields = config(OWN)
    assert unread(fields) == ["judge.detector", "judge.colors", "scorer.detector", "scorer.colors"]
