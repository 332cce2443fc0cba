"""`ls runs`: a line a run, whatever else lies there, in bounded time."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.log.run_folder import find_runs
from harness.runs import run_line
from harness.seeds import config_digest
from tests.audit.forging import Forger, Rows
from tests.terminal import STUB, Terminal

HUGE = int("9" * 4000)


@pytest.fixture
def good(harness: Terminal, suite: Path) -> Path:
    """A run that is listed whatever lies beside it."""
    assert harness("run", "--model", suite, *STUB, "--budget", "3", "--out", "good") == 0
    return Path("good")


def listed(harness: Terminal, root: str = ".") -> dict[str, str]:
    """Lines by run."""
    assert harness("ls", "runs", "--root", root) == 0, harness.err
    return {line.split()[0]: line for line in harness.out.splitlines()[1:]}


def test_the_score_is_that_of_show(harness: Terminal, good: Path) -> None:
    line = listed(harness)["good"]
    assert harness("show", "good") == 0
    [micro] = re.findall(r"^micro .*$", harness.out, re.MULTILINE)
    value, low, high = re.findall(r"\d\.\d{3}", micro)[:3]
    assert f" {value} ({low}–{high}) " in line


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no scorer": lambda fields: fields["config"].pop("scorer"),
    "no options": lambda fields: fields["config"]["strategy"].pop("options"),
    "options": lambda fields: fields["config"]["strategy"].update(options=[1]),
    "name": lambda fields: fields["config"]["benchmark"].update(name=3),
    "huge": lambda fields: fields["config"].update(replicates=HUGE),
    "count": lambda fields: fields["prompt_set"].update(count=HUGE),
    "seed": lambda fields: fields["config"].update(seed=[]),
    "created": lambda fields: fields.update(created=7),
    "state": lambda fields: fields.update(state=["finished"]),
    "suite": lambda fields: fields["config"].update(suite={}),
    "digests": lambda fields: fields["config"].update(digests=[3]),
    "checkpoints": lambda fields: fields["config"]["judge"].update(checkpoints={"a": 1}),
    "config": lambda fields: fields.update(config=[]),
    "version": lambda fields: fields.update(schema_version=HUGE),
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("edit", EDITS)
def test_a_manifest_of_other_types_is_a_line_that_says_so(
    harness: Terminal, good: Path, edit: str
) -> None:
    shutil.copytree(good, "bad")

    def change(fields: dict[str, Any]) -> None:
        EDITS[edit](fields)
        if isinstance(fields["config"], dict):
            fields["config_digest"] = config_digest(fields["config"])

    Forger(Path("bad")).manifest(change)
    lines = listed(harness)
    assert "10 of 10" in lines["good"] and lines["bad"].split()[1] == "unreadable"


ROWS: dict[str, tuple[str, Callable[[Rows], Rows]]] = {
    "twice": ("searches", lambda rows: rows + rows[:1]),
    "nameless": ("searches", lambda rows: [{**row, "prompt_id": None} for row in rows]),
    "one nameless": ("searches", lambda rows: [{**rows[0], "replicate": None}, *rows[1:]]),
    "none": ("searches", lambda rows: []),
    "no draws": ("candidates", lambda rows: []),
    "unscored": ("candidates", lambda rows: [{**row, "correct": None} for row in rows]),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_log_of_other_rows_kills_no_list(harness: Terminal, good: Path, name: str) -> None:
    shutil.copytree(good, "bad")
    Forger(Path("bad")).rewrite(*ROWS[name])
    lines = listed(harness)
    assert "10 of 10" in lines["good"] and "nan" not in lines["bad"]
    if name in ("twice", "nameless", "one nameless"):
        assert " is damaged: " in lines["bad"]
        assert harness("show", "bad") == 1 and "repair" in harness.err


def test_a_line_stays_short(harness: Terminal, good: Path) -> None:
    shutil.copytree(good, "bad")
    Forger(Path("bad")).config(lambda fields: fields.update(suite="x" * 10**6))
    assert len(listed(harness)["bad"]) < 1000


def test_a_large_log_is_not_read(
    harness: Terminal, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_line, "MOST_PROMPTS", 9)
    assert re.search(r" \d\.\d{3} \(–\) ", listed(harness)["good"])
    monkeypatch.setattr(run_line, "LARGEST_LOG", 10)
    monkeypatch.setattr("harness.log.frame.load", lambda _: pytest.fail("it was read"))
    line = listed(harness)["good"]
    assert "? of 10" in line and "which `show` reads" in line and "finished" in line


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder deeper than Python's recursion, which is taken away again: pytest could not."""
    folders = [tmp_path]
    for _ in range(1500):
        folders.append(folders[-1] / "d")
        folders[-1].mkdir()
    yield folders[-1]
    for folder in reversed(folders[1:]):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_runs_are_found_at_any_depth_and_not_behind_links(tmp_path: Path, deep: Path) -> None:
    (deep / "manifest.json").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [run.path for run in find_runs(tmp_path)] == [deep]


def test_what_is_no_folder_holds_no_runs(harness: Terminal) -> None:
    Path("file").touch()
    for root in ("file", "nowhere"):
        assert harness("ls", "runs", "--root", root) == 0 and "no runs under" in harness.err


def test_a_manifest_may_be_a_folder(harness: Terminal, good: Path) -> None:
    Path("bad", "manifest.json").mkdir(parents=True)
    lines = listed(harness)
    assert "unreadable" in lines["bad"] and "finished" in lines["good"]
    assert json.loads((good / "manifest.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(
    ("what", "name", "detail"),
    [
        ("generators", "sana", "guidance_scale=4.5 (number)"),
        ("judges", "metric", "accept=None"),
        ("judges", "none", "options: none"),
        ("metrics", "clip-score", "model: openai/clip-vit-large-patch14"),
        ("suites", "miniature", "bundled:base"),
        ("strategies", "best-of-n", "select=score"),
        ("benchmarks", "geneval", "seed=43"),
    ],
)
def test_every_kind_of_plug_in_is_listed_with_its_options(
    harness: Terminal, what: str, name: str, detail: str
) -> None:
    assert harness("ls", what) == 0
    entries = re.split(r"^(?=\S)", harness.out, flags=re.MULTILINE)
    [entry] = [entry for entry in entries if entry.splitlines()[:1] == [name]]
    assert detail in entry


@pytest.mark.slow
def test_runs_are_sorted_by_what_is_asked_for(harness: Terminal, suite: Path) -> None:
    for name, budget in (("dear", "6"), ("cheap", "1"), ("fair", "3")):
        out = Path("runs", name)
        assert harness("run", "--model", suite, *STUB, "--budget", budget, "--out", out) == 0
    shutil.copytree("runs/cheap", "runs/broken")
    Path("runs/broken/manifest.json").write_text("{")
    shown = {}
    for order in ("name", "score", "cost", "date"):
        assert harness("ls", "runs", "runs", "--sort", order) == 0
        lines = harness.out.splitlines()[1:]
        shown[order] = [Path(line.split()[0]).name for line in lines]
        scores = [
            float(match[1]) for line in lines if (match := re.search(r"(\d\.\d{3}) \(", line))
        ]
        if order == "score":
            assert scores == sorted(scores, reverse=True) and len(scores) == 3
    assert shown["name"] == ["broken", "cheap", "dear", "fair"]
    assert shown["cost"] == ["cheap", "fair", "dear", "broken"]
    # Dates are whole seconds: runs of one second stand by name.
    dates = [
        json.loads((Path("runs") / name / "manifest.json").read_text())["created"]
        for name in shown["date"][:-1]
    ]
    assert len(dates) == 3 and dates == sorted(dates, reverse=True)
    assert all(order[-1] == "broken" for name, order in shown.items() if name != "name")
    assert harness("ls", "judges", "runs") == 2


def test_the_cost_is_that_of_all_roles(harness: Terminal, good: Path) -> None:
    assert harness("show", "good", "--json", "--plugins") == 0
    flops = sum(role["flops"] for role in json.loads(harness.out)["cost"].values())
    assert f" {flops / 1e12:.3g} TFLOPs, " in listed(harness)["good"]
    shutil.copytree(good, "bad")
    Forger(Path("bad")).rewrite(
        "candidates", lambda rows: [{**rows[0], "scorer_flops": None}, *rows[1:]]
    )
    assert "TFLOPs" not in listed(harness)["bad"]
