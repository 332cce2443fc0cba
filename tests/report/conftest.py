from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.records import Prompt
from tests.runs import run, stub_plan
from tests.stubs import StubBenchmark, make_stub_suite

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "' onmouseover='alert(3)",
    "{{ 7 * 7 }} {% raw %} </script><svg onload=alert(4)>",
    "$\\frac{1}{0}$ | `code` & 100% _under_ #1 ^~ \x00\x07\x1b[31m",
    "http://example.com/a.png url(http://example.com/b.png)",
    "‮right to left 😀 </textarea></title></style>",
    "a" * 400,
)


@dataclass(frozen=True)
class HostileBenchmark(StubBenchmark):
    """Prompts, ids and tags that would break a careless page."""

    name: ClassVar[str] = "hostile"

    def prompts(self) -> list[Prompt]:
        return [
            Prompt(f"{i:02d}{text[:30]}", text, HOSTILE[i // 2][:40])
            for i, text in enumerate(HOSTILE)
        ]


MakeFolder = Callable[..., Path]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Some runs of stub models, made once: `wide`, `chain`, `hostile`."""
    root = tmp_path_factory.mktemp("runs")
    suite = make_stub_suite(root)[0]
    asks: dict[str, dict[str, Any]] = {
        "wide": {"budget": 8, "benchmark_options": {"size": "24"}},
        "chain": {"strategy": "reflect", "budget": 5, "benchmark_options": {"size": "24"}},
        "hostile": {
            "strategy": "reflect",
            "budget": 3,
            "benchmark": "tests.report.conftest:HostileBenchmark",
        },
    }
    for name, ask in asks.items():
        run(stub_plan(suite, **ask), root / name)
    return {name: root / name for name in asks}
