"""A GPU's measurement as the tables that people read, in Markdown.

A measurement comes from another machine: whatever in it is not as `tests.perf.gpu` writes it is
refused or left out, and no text of it stands in a table unescaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import HarnessError
from harness.text import read_text

MOST_BYTES = 2**24

STEP, DECODING = "step", "decoding"
"""Names of a generator's networks, as the parts call their timings."""


class Row(BaseModel):
    """One measurement; `model_extra` holds what only its part has."""

    model_config = ConfigDict(extra="allow")

    what: str = ""
    way: str = ""
    batch: int = 1
    feedbacks: int = 0
    seconds: float | None = Field(default=None, gt=0)
    images_per_second: float | None = None
    memory_bytes: int | None = None
    error: str | None = None


class Outcome(BaseModel):
    """One part."""

    seconds: float
    rows: list[Row] = Field(default_factory=list)
    error: str | None = None


class File(BaseModel):
    """The file that `tests.perf.gpu` writes."""

    version: int = Field(ge=1, le=1)
    device: str
    scale: str
    steps: int
    side: int
    seconds: float = 0.0
    environment: dict[str, Any] = Field(default_factory=dict)
    parts: dict[str, Outcome] = Field(default_factory=dict)


def read_measurement(path: Path) -> File:
    """Read a measurement.

    Raises:
        UsageError: The file is not there, too large, or no text.
        HarnessError: It is none.
    """
    try:
        return File.model_validate(json.loads(read_text(path, limit=MOST_BYTES)))
    except (ValueError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        where = ".".join(map(str, first["loc"])) + f": {first['msg']}" if first else error
        raise HarnessError(
            f"{path} is no measurement of a GPU: {where}",
            "make one with `python -m tests.perf.gpu`",
        ) from None


def markdown(file: File) -> str:
    """Return a measurement's tables, under the name of its device."""
    packages = file.environment.get("packages") or {}
    torch = packages.get("torch") if isinstance(packages, Mapping) else None
    lines = [
        f"**{_cell(file.device)}**, torch {_cell(torch)}, models of {_cell(file.scale)} size with "
        f"random weights, {file.side} × {file.side} pixels, {file.steps} steps; measured in "
        f"{file.seconds / 60:.1f} minutes",
        "",
        *_batches(file),
        *_networks(file),
        *_shares(file),
        *_words(file),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _batches(file: File) -> Iterator[str]:
    """Yield images a second by batch size, one row a model and way."""
    names = {
        "sana": "SANA", "reflect-dit": "Reflect-DiT", "judge": "Qwen2.5-VL", "scorer": "scorer",
    }  # fmt: skip
    sizes = sorted({row.batch for name in names for row in _rows(file, name)})
    if not sizes:
        return
    head = [f"{size}" for size in sizes]
    yield from _head(["images/s in batches of", *head, "best against one", "memory, GiB"])
    for name, title in names.items():
        groups: dict[tuple[str, str, int], dict[int, Row]] = {}
        for row in _rows(file, name):
            groups.setdefault((row.what, row.way, row.feedbacks), {})[row.batch] = row
        for (what, way, feedbacks), by_size in groups.items():
            parts = [title, "" if what == "whole batches" else what, way]
            parts.append(f"{feedbacks} feedbacks" if name == "reflect-dit" else "")
            rates = {size: row.images_per_second for size, row in by_size.items()}
            known = [rate for rate in rates.values() if rate]
            one = rates.get(1)
            memory = max((row.memory_bytes or 0 for row in by_size.values()), default=0)
            yield _line(
                ", ".join(filter(None, parts)),
                *(_rate(by_size.get(size)) for size in sizes),
                f"{max(known) / one:.2f}×" if known and one else "",
                f"{memory / 2**30:.1f}" if memory else "",
            )
    yield ""


def _networks(file: File) -> Iterator[str]:
    """Yield milliseconds an image of the generator's networks, one row a way of running them."""
    for part in ("networks", "networks with feedback"):
        rows = [row for row in _rows(file, part) if row.what in (STEP, DECODING)]
        if not rows:
            continue
        places = sorted({(row.what, row.batch) for row in rows}, reverse=True)
        title = "a step with guidance" if part == "networks" else "the same with 3 feedbacks"
        yield from _head(
            [f"ms an image, {title}", *(f"{what}, {size} rows" for what, size in places)]
        )
        ways = dict.fromkeys(row.way for row in rows)
        cells = {(row.way, row.what, row.batch): row for row in rows}
        for way in ways:
            yield _line(way, *(_ms(cells.get((way, *place))) for place in places))
        yield ""


def _shares(file: File) -> Iterator[str]:
    """Yield what an image takes of each role, each in its quickest batch."""
    best = {
        "generator": _quickest(file, "sana", "whole batches"),
        "judge": _quickest(file, "judge", "judging"),
        "scorer": _quickest(file, "scorer", "detection"),
    }
    known = {role: seconds for role, seconds in best.items() if seconds is not None}
    if len(known) < len(best):
        return
    whole = sum(known.values())
    shares = ", ".join(f"{role} {seconds / whole:.0%}" for role, seconds in known.items())
    yield f"Of the time that an image takes, each role in its quickest batch: {shares}."
    yield ""


def _words(file: File) -> Iterator[str]:
    """Yield parity, invariance, overlap and failures, a line each."""
    for row in _rows(file, "parity"):
        more = row.model_extra or {}
        yield (
            f"- {_cell(row.what)}: {_cell(more.get('tier'))}; {_cell(more.get('bitwise'))} of "
            f"{_cell(more.get('draws'))} images bit for bit, largest difference "
            f"{_cell(more.get('largest_difference'))} of 255, {_cell(more.get('equal_verdicts'))} "
            "verdicts equal"
        )
    for row in _rows(file, "invariance"):
        parts = [
            f"{name} {'equal' if value == 0 else f'off by {value:.3g}'}"
            for name, key in _INVARIANCE
            if isinstance(value := (row.model_extra or {}).get(key), int | float)
        ]
        yield f"- a row's bits, {_cell(row.what)}, batches of {row.batch}: {', '.join(parts)}"
    if any(_varies(row) for row in _rows(file, "invariance")):
        yield (
            "- bits depend on neighbours or places, so an audit here is within tolerance; equal "
            "bits would take batches of one, whose price is the best rate against one above"
        )
    for row in _rows(file, "overlap"):
        work = (row.model_extra or {}).get("work_done_together")
        if isinstance(work, int | float):
            yield (
                f"- {_cell(row.what)} at once on one GPU do {work:.2f} times the work of taking "
                "turns"
            )
    for row in _rows(file, "doctor"):
        if (row.model_extra or {}).get("ok") is False:
            yield f"- {_cell(row.what)}: {_cell((row.model_extra or {}).get('answer'))}"
    for name, part in file.parts.items():
        if part.error:
            yield f"- {_cell(name)} ended early: {_cell(part.error)}"
        errors: dict[tuple[str, str], list[str]] = {}
        for row in part.rows:
            if row.error:
                what = ", ".join(filter(None, [name, row.what, row.way]))
                errors.setdefault((what, row.error), []).append(str(row.batch))
        for (what, error), batches in errors.items():
            yield f"- {_cell(what)}, batches of {', '.join(batches)}: {_cell(error)}"


_INVARIANCE = (
    ("alone", "alone"),
    ("at another place", "elsewhere"),
    ("once more", "again"),
    ("in a batch of one", "other_size"),
)


def _varies(row: Row) -> bool:
    more = row.model_extra or {}
    return any(more.get(key) not in (0, None) for key in ("alone", "elsewhere", "again"))


def _rows(file: File, part: str) -> list[Row]:
    outcome = file.parts.get(part)
    return [row for row in outcome.rows if row.error is None] if outcome else []


def _quickest(file: File, part: str, what: str) -> float | None:
    rates = [row.images_per_second for row in _rows(file, part) if row.what == what]
    known = [rate for rate in rates if rate]
    return 1 / max(known) if known else None


def _rate(row: Row | None) -> str:
    return f"{row.images_per_second:.3g}" if row and row.images_per_second else ""


def _ms(row: Row | None) -> str:
    return f"{1000 * row.seconds / row.batch:.3g}" if row and row.seconds else ""


def _head(cells: Sequence[str]) -> Iterator[str]:
    yield _line(*cells)
    yield _line(*("---" for _ in cells))


def _line(*cells: str) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(value: object) -> str:
    flat = re.sub(r"[\x00-\x1f\x7f]+", " ", str(value)).strip()[:200]
    return re.sub(r"([\\`*_\[\]<>|!$&])", r"\\\1", flat)
