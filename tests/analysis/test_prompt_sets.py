"""Prompts are the same by what they ask for and are scored by, whatever they are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from benchmarks.geneval.benchmark import GenEval
from harness.analysis.comparison import common, comparison_table
from harness.analysis.protocol import check_comparable, protocol_differences
from harness.errors import UsageError
from harness.records import Prompt
from harness.registry import import_paths
from harness.runs.measurement import content, coverage_of
from tests.analysis.conftest import MakeRun
from tests.stubs import StubBenchmark

ROW = {
    "tag": "position",
    "include": [
        {"class": "bench", "count": 1},
        {"class": "cat", "count": 1, "position": ["left of", 0]},
    ],
    "prompt": "a photo of a cat left of a bench",
}


def prompt(row: Mapping[str, Any], name: str = "00000") -> Prompt:
    return Prompt(name, row["prompt"], row["tag"], row)


def test_how_a_row_is_spelled_is_not_its_content() -> None:
    plain = content(prompt(ROW), "geneval")
    padded = [{"color": None, "position": None, **entry} for entry in ROW["include"]]
    assert content(prompt({**ROW, "include": padded, "exclude": None}), "geneval") == plain
    assert content(prompt({**ROW, "number": 3}, "12"), "geneval") == plain
    assert content(prompt({**ROW, "number": 3}), "another") != plain, "whose keys nobody knows"


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a photo of a cat right of a bench"},
        {"tag": "counting"},
        {"include": ROW["include"][:1]},
        {"exclude": [{"class": "cat", "count": 2}]},
    ],
)
def test_what_is_scored_is_its_content(change: Mapping[str, Any]) -> None:
    assert content(prompt({**ROW, **change}), "geneval") != content(prompt(ROW), "geneval")


OFFICIAL = GenEval().prompts()


@pytest.mark.parametrize(
    ("prompts", "sentence"),
    [
        (lambda: OFFICIAL, ""),
        (lambda: [replace(p, id=f"x{i}") for i, p in enumerate(reversed(OFFICIAL))], ""),
        (
            lambda: [p for i, p in enumerate(OFFICIAL) if i % 60 != 7],
            "543 of GenEval's 553 prompts, without 00007 'a photo of a surfboard', 00067 ",
        ),
        (
            lambda: [*OFFICIAL, replace(OFFICIAL[0], id="again")],
            "553 of GenEval's 553 prompts and 1 other",
        ),
        (
            lambda: [replace(OFFICIAL[0], tag="two_object"), *OFFICIAL[1:]],
            "552 of GenEval's 553 prompts and 1 other, without 00000 'a photo of a bench'",
        ),
        (GenEval(seed=44, size=0).prompts, "80 of GenEval's 553 prompts, without 00080 "),
        (lambda: [prompt(ROW)], "none of GenEval's 553 prompts"),
    ],
)
def test_what_is_missing_of_the_published_prompts_is_named(
    prompts: Callable[[], list[Prompt]], sentence: str
) -> None:
    message = coverage_of(prompts()).sentence
    assert message.startswith(sentence) and bool(message) is bool(sentence)
    assert message.count("'") < 10 or "more" in message, "a few are named, the rest are counted"


@dataclass(frozen=True)
class Renamed(StubBenchmark):
    """The stub's prompts, with other names and metadata."""

    name: ClassVar[str] = "renamed"
    prompt_options: ClassVar[frozenset[str]] = frozenset({"size", "prefix", "count", "first"})
    prefix: str = ""
    count: int = 1
    first: int = 0

    def prompts(self) -> list[Prompt]:
        return [
            replace(p, id=self.prefix + p.id, metadata={"count": self.count})
            for p in super().prompts()[self.first :]
        ]


@pytest.fixture(autouse=True)
def allowed() -> Iterator[None]:
    """The benchmark is this test's own, so its options may be asked for their defaults."""
    with import_paths(allowed=True):
        yield


def renamed(**options: Any) -> dict[str, Any]:
    return {
        "benchmark": "tests.analysis.test_prompt_sets:Renamed",
        "benchmark_options": {name: str(value) for name, value in options.items()},
    }


def test_the_same_prompts_under_other_names_are_paired(make_run: MakeRun) -> None:
    one, other = make_run("a", **renamed()), make_run("b", **renamed(prefix="x"))
    assert (
        protocol_differences(one, other) == [] and check_comparable([one, other], force=False) == []
    )
    shared = common(one, other)
    assert len(shared.first) == 10
    texts = [run.prompts["prompt"].to_numpy() for run in (one, other)]
    assert np.array_equal(texts[0][shared.first], texts[1][shared.second])


def test_prompts_that_are_scored_otherwise_are_not_paired(make_run: MakeRun) -> None:
    one, other = make_run("a", **renamed()), make_run("b", **renamed(count=2))
    assert protocol_differences(one, other) == ["prompt set"]
    with pytest.raises(UsageError, match="no prompt in common"):
        common(one, other)


def test_prompts_that_a_run_lacks_are_named(make_run: MakeRun) -> None:
    one, other = make_run("a", **renamed()), make_run("b", **renamed(first=4))
    with pytest.raises(UsageError, match=r"has 4 that .* has not: 00000 'thing 0', .* and 1 more"):
        check_comparable([one, other], force=False)
    (warning,) = check_comparable([one, other], force=True)
    assert "has 4 that" in warning
    row = comparison_table([one, other], ["a", "b"]).iloc[0]
    assert (row["prompts"], row["protocol_differences"]) == (6, "prompt set")
