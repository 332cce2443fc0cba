from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from pydantic import Field

from harness.errors import UsageError
from harness.options import build, describe


@dataclass(frozen=True)
class Plugin:
    size: Annotated[int, Field(ge=1)]
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    pick: Literal["last", "best"] = "last"
    exact: bool = True
    words: str = "so"


def test_options_are_described_in_words() -> None:
    assert describe(Plugin) == (
        "size (whole number, at least 1); share=None (number, above 0, at most 1 or none); "
        "pick=last (last or best); exact=True (true or false); words=so (text)"
    )


def test_a_value_that_does_not_fit_is_answered_with_what_does() -> None:
    with pytest.raises(UsageError, match="cannot take -S pick=first") as refused:
        build(Plugin, {"size": "2", "pick": "first"}, flag="-S")
    assert "pick=last (last or best)" in (refused.value.hint or "")


def test_text_becomes_the_field_s_type() -> None:
    assert build(Plugin, {"size": "2", "exact": "false", "share": "0.5"}, flag="-S") == Plugin(
        2, 0.5, exact=False
    )


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_what_is_no_number_is_refused(value: str) -> None:
    @dataclass(frozen=True)
    class Barred:
        bar: float = 0.5

    with pytest.raises(UsageError, match=f"-S bar={value}: it is no number"):
        build(Barred, {"bar": value}, flag="-S")
