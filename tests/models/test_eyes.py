"""A judge that looks through the scorer's checkpoints, by whatever name and however disguised."""

from __future__ import annotations

from typing import Any

import pytest

from harness.models.eyes import Eyes, eyes, warning
from harness.plan import Ask, plan

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
        (config(OWN), Eyes((), False)),
        (config(SCORERS), Eyes(("detector", "colors"), True)),
        (config(OWN | {"detector": "c"}), Eyes(("detector",), True)),
        (config(OWN | {"colors": "d"}), Eyes(("colors",), False)),
        (config({"model": "a", "processor": "d"}, "vlm"), Eyes(("processor",), False)),
        (config({"model": "c", "processor": "a"}, "vlm"), Eyes(("model",), True)),
        # The part that decides is not there by its name, or its name is not known.
        (config({"eyes": "c", "more": "a"}), Eyes(("eyes",), True)),
        (config({"eyes": "c", "more": "a"}, "somebodys:Judge"), Eyes(("eyes",), True)),
        (config({"eyes": "c", "more": "a"}, "not-installed"), Eyes(("eyes",), True)),
        (config({}, "none"), Eyes((), False)),
        (config(SCORERS, scorer=None), Eyes((), False)),
        # Without digests the references say what is the same.
        (config(OWN, digests={}), Eyes((), False)),
    ],
)
def test_what_is_shared_and_whether_it_decides(fields: dict[str, Any], expected: Eyes) -> None:
    assert eyes(fields) == expected
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
def test_the_miniature_s_judge_and_scorer_exchange_eyes(
    asked: dict[str, Any], deciding: bool
) -> None:
    config = plan(Ask(limit=1, **asked)).config
    assert not config.oracle
    assert eyes(config.model_dump(mode="json")).deciding is deciding
