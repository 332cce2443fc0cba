"""The explorer in a real browser while a run is being written: numbers move, texts are text."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.log.run_folder import RunFolder
from harness.log.store import LogWriter
from harness.view.runs import progress
from tests.report.browser import CHROMIUM, Browser
from tests.report.conftest import HOSTILE
from tests.runs import run, stub_plan
from tests.stubs import StubJudge, make_stub_suite
from tests.view.serving import TOKEN, served

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)"
)


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.1)
    return result


@pytest.mark.slow
def test_a_run_that_is_being_written_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = StubJudge.judge

    def hostile(self: StubJudge, *looks: Any) -> Any:
        return [
            (replace(verdict, sentence=f"{HOSTILE[number % 4]} {verdict.sentence}"), cost)
            for number, (verdict, cost) in enumerate(judged(self, *looks))
        ]

    monkeypatch.setattr(StubJudge, "judge", hostile)
    monkeypatch.setattr(LogWriter, "tick", LogWriter.flush)  # every row is to be seen at once
    suite = make_stub_suite(tmp_path)[0]
    first, second = tmp_path / "first", tmp_path / "second"
    ask = {"budget": 3, "benchmark": "tests.report.conftest:HostileBenchmark"}
    run(stub_plan(suite, **ask), second)
    states: list[dict[str, str]] = []
    assert CHROMIUM is not None
    with served([first, second]) as port, Browser(CHROMIUM, tmp_path / "profile") as browser:
        site = f"http://127.0.0.1:{port}"
        fields = (
            "Object.fromEntries([...document.querySelectorAll('#progress dt')]"
            ".map(term => [term.textContent, term.nextElementSibling.textContent]))"
        )

        def look() -> bool:
            """Open the run's page where some of its searches have ended."""
            if not states and RunFolder(first).is_run and progress(RunFolder(first)).searches:
                browser.open(f"{site}/run/0?token={TOKEN}")
                states.append(until(lambda: browser.evaluate(fields)))
            return False

        run(stub_plan(suite, strategy="reflect", **ask), first, stop=look)
        (state,) = states
        assert state["state"] == "running" and state["searches"].endswith(" of 8")
        assert 0 < int(state["searches"].split()[0]) < 8
        assert {"micro so far", "cost so far", "fill of batches"} <= state.keys()
        assert {"rate", "time left"} <= state.keys()
        assert "device-seconds" in state["cost so far"] and "–" in state["micro so far"]
        sentence = browser.evaluate("document.querySelector('.sentence').textContent")
        assert any(text in sentence for text in HOSTILE)
        ended = "document.querySelector('#over-cost details .notes')?.textContent"
        until(lambda: browser.evaluate("document.querySelectorAll('#chart .trace').length"))
        assert "of 8 searches" in until(lambda: browser.evaluate(ended))
        # The page goes on by itself.
        until(lambda: browser.evaluate(fields)["state"] == "finished")
        assert browser.evaluate(fields)["searches"] == "8 of 8"
        assert_confined(browser, site)
        browser.open(f"{site}/compare/0/1")
        assert browser.evaluate("document.querySelectorAll('.pair .card').length") == 8
        assert browser.evaluate("document.querySelectorAll('.card .search').length") == 16
        browser.evaluate("document.querySelector('.chain .picture').click()")
        image = "document.querySelector('#enlarged img')"
        until(lambda: browser.evaluate(f"{image}.complete && {image}.naturalWidth > 0"))
        assert f"{site}/run/0/image/" in browser.evaluate(f"{image}.src")
        assert_confined(browser, site)


def assert_confined(browser: Browser, site: str) -> None:
    assert not browser.named("Runtime.exceptionThrown", "Page.javascriptDialogOpening")
    urls = [event["request"]["url"] for event in browser.named("Network.requestWillBeSent")]
    assert urls and all(url.startswith((site, "data:")) for url in urls)
