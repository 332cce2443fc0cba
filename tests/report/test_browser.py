"""The page in a real browser: silent console, no request, working filter."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.report.build import Options, report
from tests.made_up import make_run
from tests.report.browser import CHROMIUM, Browser
from tests.runs import run, stub_plan
from tests.stubs import make_stub_suite

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)"
    ),
]


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    assert CHROMIUM is not None
    return Browser(CHROMIUM, tmp_path / "profile")


@pytest.fixture(scope="module")
def page(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page about two runs, with all of their prompts."""
    options = Options(gallery=("all",))
    runs = [folders["wide"], folders["chain"]]
    return report(runs, tmp_path_factory.mktemp("page") / "out", options).page


def assert_silent(browser: Browser) -> None:
    assert not browser.named("Runtime.exceptionThrown")
    assert not browser.named("Runtime.consoleAPICalled")
    assert not [e["entry"]["text"] for e in browser.named("Log.entryAdded")]
    assert not browser.named("Page.javascriptDialogOpening")
    urls = [e["request"]["url"] for e in browser.named("Network.requestWillBeSent")]
    asked = [url for url in urls if not url.startswith("data:")]
    assert len(asked) == 1 and asked[0].startswith("file:") and asked[0].endswith("index.html")


def test_opens_without_a_word_and_filters(page: Path, browser: Browser) -> None:
    with browser:
        browser.open(page)
        assert_silent(browser)
        cards = "[...document.querySelectorAll('.card')].filter(c => c.offsetParent).length"
        assert browser.evaluate(cards) == 24
        change = "form.dispatchEvent(new Event('change'))"
        pick = "const form = document.getElementById('filter'); form.elements"
        browser.evaluate(f"{{ {pick}.tag.value = 'odd'; {change} }}")
        assert browser.evaluate(cards) == 12
        assert browser.evaluate("document.getElementById('count').textContent").startswith("12 of")
        browser.evaluate(f"{{ {pick}.outcome.value = 'correct'; {change} }}")
        shown = browser.evaluate(cards)
        expected = (
            "document.querySelectorAll('.card[data-tag=odd]:has([data-outcome=correct])').length"
        )
        assert 0 < shown < 12 and shown == browser.evaluate(expected)
        broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).length"
        assert browser.evaluate(broken) == 0
        assert browser.evaluate("getComputedStyle(document.body).maxWidth") != "none", "no style"
        assert_silent(browser)


def test_the_chart_is_drawn_and_follows_its_choices(page: Path, browser: Browser) -> None:
    title = "document.querySelector('#chart .xtitle').textContent"
    with browser:
        browser.open(page)
        assert browser.evaluate("document.querySelectorAll('#chart .scatterlayer .trace').length")
        assert (
            browser.evaluate("document.getElementById('static-chart').checkVisibility()") is False
        )
        browser.evaluate(
            "{ const form = document.getElementById('chart-form');"
            "form.elements.axis.value = 'nfe';"
            "for (const kind of ['input', 'change'])"
            " form.elements.axis.dispatchEvent(new Event(kind, { bubbles: true })); }"
        )
        assert browser.evaluate(title) == "NFE an image"
        shown = "[...document.querySelectorAll('[data-axis]')].filter(t => t.checkVisibility())"
        assert browser.evaluate(f"{shown}.map(table => table.dataset.axis)") == ["nfe"]
        assert browser.evaluate("location.hash") == "#axis=nfe"
        assert_silent(browser)


def test_the_gallery_is_searched_by_words(page: Path, browser: Browser) -> None:
    with browser:
        browser.open(page)
        first = browser.evaluate("document.querySelector('.card h3').textContent")
        browser.evaluate(
            "{ const form = document.getElementById('filter');"
            f"form.elements.words.value = {first.upper()!r};"
            "form.dispatchEvent(new Event('input')); }"
        )
        left = "[...document.querySelectorAll('.card')].filter(c => !c.hidden)"
        texts = browser.evaluate(f"{left}.map(c => c.querySelector('h3').textContent)")
        assert texts and all(first in text for text in texts)


def test_pictures_are_enlarged_and_two_runs_compared_by_the_keyboard_alone(
    page: Path, browser: Browser
) -> None:
    number = "document.querySelector('#enlarged strong')?.textContent"
    is_open = "document.getElementById('enlarged').open"
    with browser:
        browser.open(page)
        # Images of detections have labels, and sentences stand between a draw and the next.
        assert browser.evaluate("document.querySelectorAll('.picture text').length") > 0
        assert browser.evaluate("document.querySelectorAll('.spoken .judge.used').length") > 0
        browser.evaluate("document.querySelector('.chain .picture').focus()")
        press(browser, "Enter")
        assert browser.evaluate(is_open) is True and browser.evaluate(number) == "draw 0"
        press(browser, "ArrowRight")
        assert browser.evaluate(number) == "draw 1"
        press(browser, "Escape")
        assert browser.evaluate(is_open) is False
        assert browser.evaluate("document.activeElement.matches('.chain .picture')") is True
        shown = []
        for name in ("first", "second", "both", "neither"):
            browser.evaluate(
                "{ const form = document.getElementById('filter');"
                f"form.elements.pair.value = '{name}'; form.dispatchEvent(new Event('input')); }}"
            )
            assert browser.evaluate("location.hash") == f"#pair={name}"
            shown.append(
                browser.evaluate("document.querySelectorAll('.card:not([hidden])').length")
            )
        assert sum(shown) == 24 and shown[0] and shown[0] != 24
        assert_silent(browser)
        # Whoever is given the address sees the same.
        browser.call("Page.navigate", url="about:blank")
        browser.open(page, "#pair=first&draws=selected")
        cards = "document.querySelectorAll('.card:not([hidden])').length"
        assert browser.evaluate(cards) == shown[0]
        assert (
            browser.evaluate("document.querySelector('.shot:not(.selected)').checkVisibility()")
            is False
        )
        assert_silent(browser)


def test_a_run_without_images_is_a_line_a_prompt(tmp_path: Path, browser: Browser) -> None:
    ask = stub_plan(make_stub_suite(tmp_path)[0], budget=2, keep_images="none")
    run(ask, tmp_path / "run")
    made = report([tmp_path / "run"], tmp_path / "out", Options(gallery=("all",)))
    with browser:
        browser.open(made.page)
        assert browser.evaluate("document.querySelectorAll('.picture').length") == 0
        shown = "[...document.querySelectorAll('.shot')].filter(s => s.checkVisibility()).length"
        assert browser.evaluate(shown) == 0
        assert "images not kept" in browser.evaluate(
            "document.querySelector('.card summary').textContent"
        )


def press(browser: Browser, key: str) -> None:
    text = {"text": "\r"} if key == "Enter" else {}
    code = {"Enter": 13, "Escape": 27, "ArrowRight": 39}[key]
    for kind in ("keyDown", "keyUp"):
        event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
        browser.call("Input.dispatchKeyEvent", **event, **text)


def test_all_553_prompts_open_fold_and_filter(tmp_path: Path, browser: Browser) -> None:
    suite = make_stub_suite(tmp_path)[0]
    ask = {"budget": 2, "replicates": 2, "benchmark_options": {"size": "553"}}
    run(stub_plan(suite, **ask), tmp_path / "run")
    made = report([tmp_path / "run"], tmp_path / "out", Options(gallery=("all",)))
    with browser:
        browser.open(made.page)
        assert_silent(browser)
        count = "document.getElementById('count').textContent"
        assert browser.evaluate(count) == "553 of 553 prompts"
        # The second search of each prompt is there, folded, and opens.
        assert browser.evaluate("document.querySelectorAll('.search > details').length") == 553
        assert browser.evaluate("document.querySelectorAll('.search > details[open]').length") == 0
        assert browser.evaluate("document.querySelectorAll('.card .shot').length") == 553 * 4
        seen = "document.querySelector('.search > details ol').checkVisibility()"
        assert browser.evaluate(seen) is False
        browser.evaluate("document.querySelector('.search > details > summary').click()")
        assert browser.evaluate(seen) is True
        # On paper all are open, and afterwards as the reader had left them.
        opened = "document.querySelectorAll('.search > details[open]').length"
        browser.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert browser.evaluate(opened) == 553
        browser.evaluate("dispatchEvent(new Event('afterprint'))")
        assert browser.evaluate(opened) == 1
        browser.evaluate(
            "{ const form = document.getElementById('filter'); form.elements.tag.value = 'odd';"
            "form.dispatchEvent(new Event('change')); }"
        )
        assert browser.evaluate(count) == "276 of 553 prompts"
        assert_silent(browser)


def test_hostile_texts_do_nothing(
    folders: dict[str, Path], tmp_path: Path, browser: Browser
) -> None:
    made = report([folders["hostile"]], tmp_path / "out", Options(gallery=("all",)))
    with browser:
        browser.open(made.page)
        assert_silent(browser)
        assert browser.evaluate("document.querySelectorAll('script').length") == 1
        assert browser.evaluate("document.querySelectorAll('.card').length") == 8
        assert browser.evaluate("document.querySelector('.card h3').textContent") == (
            "<script>alert(1)</script>"
        )


@pytest.mark.parametrize(("scheme", "ground"), [("dark", (22, 22, 24)), ("light", (255,) * 3)])
def test_figures_have_the_ground_of_the_page(
    page: Path, browser: Browser, scheme: str, ground: Any
) -> None:
    with browser:
        preferred = {"name": "prefers-color-scheme", "value": scheme}
        browser.call("Emulation.setEmulatedMedia", features=[preferred])
        browser.open(page)
        browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        box = "document.querySelector('#figures + details img').getBoundingClientRect()"
        place = {side: browser.evaluate(f"{box}.{side}") for side in ("x", "y")}
        clip = {**place, "width": 8, "height": 8, "scale": 1}
        taken = browser.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        picture = Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB")
        assert picture.getpixel((4, 4)) == ground
        red, green, blue = ground
        assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == (
            f"rgb({red}, {green}, {blue})"
        )
        assert_silent(browser)


def test_long_and_wide_tables_fit_the_screen_and_the_paper(
    tmp_path: Path, browser: Browser
) -> None:
    runs = [make_run(tmp_path / name, 60, draws).path for name, draws in (("a", 16), ("b", 20))]
    made = report(runs, tmp_path / "out", Options(gallery=("none",)))
    rows = "Math.max(...[...document.querySelectorAll('table')].map(t => t.rows.length))"
    tallest = "Math.max(...[...document.querySelectorAll('.scroll')].map(s => s.clientHeight))"
    width = "document.documentElement.scrollWidth"
    with browser:
        browser.open(made.page)
        assert browser.evaluate(rows) > 30 and browser.evaluate(tallest) < 600
        # The width of a sheet of A4 within margins of a centimetre.
        sheet = {"width": 718, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        browser.call("Emulation.setDeviceMetricsOverride", **sheet)
        assert browser.evaluate(width) <= 718
        browser.call("Emulation.setEmulatedMedia", media="print")
        assert browser.evaluate(width) <= 718 and browser.evaluate(tallest) > 600
        assert_silent(browser)


def test_these_tests_would_hear_a_loud_page(tmp_path: Path, browser: Browser) -> None:
    loud = tmp_path / "index.html"
    loud.write_text("<img src='http://127.0.0.1:9/x.png'><script>console.log(1); gone()</script>")
    with browser:
        browser.open(loud)
        assert browser.named("Runtime.exceptionThrown")
        assert browser.named("Runtime.consoleAPICalled")
        assert len(browser.named("Network.requestWillBeSent")) == 2
