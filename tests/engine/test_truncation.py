"""What a draw's row says of its texts, when a generator can tell, cannot, or fails to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import harness
from harness.analysis.findings import analyse
from harness.records import Request
from harness.registry import import_paths
from harness.report.page import run_facts
from harness.runs.summary import summarise
from harness.truncation import Truncation
from tests.runs import run, stub_plan
from tests.stubs import StubGenerator, make_stub_suite


class Telling(StubGenerator):
    """Reads no text with a 3 in it to its end, and fails over one with a 5."""

    @classmethod
    def truncation(cls, checkpoints: Mapping[str, Path]) -> Truncation:
        assert checkpoints["faults"].is_dir()

        def truncated(request: Request[Any]) -> Collection[str]:
            if "5" in request.text:
                raise ValueError("scripted")
            return ["text"] if "3" in request.text else []

        return truncated


def suite_of(folder: Path, generator: str) -> Path:
    suite, _ = make_stub_suite(folder)
    suite.write_text(suite.read_text().replace("tests.stubs:StubGenerator", generator))
    return suite


def test_each_row_says_which_of_its_texts_were_cut(tmp_path: Path) -> None:
    run(stub_plan(suite_of(tmp_path, f"{__name__}:Telling")), tmp_path / "run")
    frame = harness.load(tmp_path / "run")
    for row in frame.itertuples():
        cut = None if row.prompt_id == "00005" else ["text"] if row.prompt_id == "00003" else []
        assert (row.truncated if row.truncated is None else list(row.truncated)) == cut
    truncated = summarise(tmp_path / "run").truncated
    assert truncated.ids == {"text": ("00003",)}
    assert (truncated.known, truncated.prompts) == (9, 10)


def test_a_report_says_it_in_its_captions_and_for_each_run(tmp_path: Path) -> None:
    run(stub_plan(suite_of(tmp_path, f"{__name__}:Telling"), budget=1), tmp_path / "run")
    with import_paths(allowed=True):
        result = analyse([tmp_path / "run"])
    sentence = "the text encoder cuts the text of 1 of 9 prompts, by id: 00003"
    assert f"{result.names[0]}: {sentence}" in result.captions
    facts = dict(run_facts("x", result.runs[0], result.spending[0], ())["facts"])
    assert facts["truncated"] == f"{sentence}; 1 not recorded"


def test_a_generator_that_cannot_tell_leaves_it_unknown(tmp_path: Path) -> None:
    ready = stub_plan(suite_of(tmp_path, "tests.stubs:StubGenerator"))
    run(ready, tmp_path / "run")
    assert harness.load(tmp_path / "run")["truncated"].isna().all()
    assert ready.truncated().summary == "not recorded"
    assert summarise(tmp_path / "run").truncated.summary == "not recorded"
