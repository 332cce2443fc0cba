"""Device-hours and money, and what of them is unknown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.price import Price
from harness.runs.money import spending


def summary(kind: str = "vlm", **seconds: float | None) -> Any:
    cost = {role: {"device_seconds": s, "tokens": 2_000_000} for role, s in seconds.items()}
    return SimpleNamespace(config={"judge": {"kind": kind}}), cost


@pytest.mark.parametrize(
    ("runs", "price", "says"),
    [
        ([summary(generator=3600.0, judge=1800.0)], Price(), "1.5 device-hours"),
        ([summary(generator=3600.0), summary(generator=7200.0)], Price(2.0),
         "3 device-hours; at these prices 6"),
        ([summary(generator=3600.0, judge=1800.0)], Price(2.0, 5.0),
         "1.5 device-hours; at these prices 3"),
        ([summary("openai", generator=3600.0, judge=1800.0)], Price(2.0, 5.0),
         "1 device-hours, 2 million tokens of an endpoint; at these prices 12"),
        ([summary("openai", generator=3600.0, judge=1.0)], Price(2.0),
         "1 device-hours, 2 million tokens of an endpoint; at these prices 2 without its tokens"),
        ([summary("openai", generator=3600.0, judge=1.0)], Price(None, 5.0),
         "1 device-hours, 2 million tokens of an endpoint; at these prices 10 without its "
         "device-hours"),
        ([summary(generator=None, judge=1.0)], Price(2.0),
         "device-hours not recorded; at these prices unknown"),
        ([summary(generator=None, judge=1.0)], Price(0.0),
         "device-hours not recorded; at these prices unknown"),
    ],
)  # fmt: skip
def test_what_is_paid(runs: list[Any], price: Price, says: str) -> None:
    assert str(spending(runs, price)) == says
