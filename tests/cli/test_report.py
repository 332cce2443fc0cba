"""`report` and `compare` as a person meets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_cli import STUB, Terminal
from tests.stubs import make_stub_suite


@pytest.fixture
def harness(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    terminal = Terminal(capsys, monkeypatch)
    suite = str(make_stub_suite(tmp_path)[0])
    for name, strategy in (("a", "best-of-n"), ("b", "reflect")):
        arguments = ["--model", suite, *STUB, "--strategy", strategy, "--out", name]
        assert terminal("run", *arguments) == 0, terminal.err
    return terminal


def test_a_report_of_two_runs(harness: Terminal) -> None:
    assert harness("report", "a", "b", "--out", "page") == 0
    written = {path.suffix for path in Path("page").rglob("*") if path.is_file()}
    assert {".html", ".png", ".svg", ".csv", ".md", ".tex"} <= written
    (page,) = Path("page").glob("*.html")
    text = page.read_text(encoding="utf-8")
    assert "best-of-n" in text and "reflect" in text and "miniature" in text.lower()


def test_a_comparison_is_paired_and_labelled(harness: Terminal) -> None:
    assert harness("compare", "a", "b") == 0
    assert "micro" in harness.out and "miniature" in (harness.out + harness.err).lower()


@pytest.mark.parametrize(
    "command", [["report", "a", "nowhere", "--out", "p"], ["compare", "a", "nowhere"]]
)
def test_a_folder_that_is_no_run(harness: Terminal, command: list[str]) -> None:
    assert harness(*command) == 2
    assert "not a run" in harness.err and not Path("p").exists()


def test_a_report_can_be_measured(harness: Terminal) -> None:
    assert harness("bench", "report", "--prompts", "12", "--draws", "3") == 0
    assert "36 candidates" in harness.out and "processor time" in harness.out
