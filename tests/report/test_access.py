"""The page for those who read it otherwise: contrast, structure, names, motion, print."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest

from harness.report.build import Options, report

CSS = (files("harness.report") / "templates" / "page.css").read_text(encoding="utf-8")


def palettes() -> list[dict[str, str]]:
    """The colours of the light and of the dark scheme."""
    blocks = re.findall(r":root \{([^}]*)\}", CSS)
    assert len(blocks) == 2
    result = [dict(re.findall(r"--(\w+): (#[0-9a-f]+)", block)) for block in blocks]
    assert result[0].keys() == result[1].keys()
    return result


def luminance(color: str) -> float:
    """WCAG 2.2, relative luminance."""
    digits = color[1:] if len(color) == 7 else "".join(2 * c for c in color[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_contrast_is_reckoned_rightly() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21) and contrast("#777", "#777") == 1
    assert contrast("#767676", "#fff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "card"])
@pytest.mark.parametrize("ink", ["ink", "soft", "good", "bad", "link"])
def test_texts_have_the_contrast_of_wcag_aa(scheme: int, ground: str, ink: str) -> None:
    colors = palettes()[scheme]
    assert contrast(colors[ink], colors[ground]) >= 4.5


class Outline(HTMLParser):
    """What a screen reader would list. Has state: what was met so far."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.unlabelled: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("select", "input") and "label" not in self.open:
            self.unlabelled.append(tag)
        if tag == "label":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "label":
            self.open.remove(tag)


@pytest.mark.slow
def test_landmarks_headings_names_and_tables(folders: dict[str, Path], tmp_path: Path) -> None:
    made = report([folders["wide"], folders["chain"]], tmp_path, Options(gallery_size=2))
    text = made.page.read_text(encoding="utf-8")
    outline = Outline()
    outline.feed(text)
    names = [tag for tag, _ in outline.tags]
    assert [names.count(tag) for tag in ("main", "header", "h1", "nav")] == [1, 1, 1, 1]
    levels = [int(tag[1]) for tag in names if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    assert not outline.unlabelled
    assert names.count("table") == names.count("caption")
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in outline.tags if tag == "th")
    assert all(attrs.get("alt") for tag, attrs in outline.tags if tag == "img")
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {value for _, a in outline.tags for k, value in a.items() if k == "aria-labelledby"}
    assert targets <= set(ids)
    assert ("html", {"lang": "en"}) in outline.tags
    # What the detector found is said in words, not by boxes alone.
    assert re.search(r"found: (red )?cat 0\.\d\d", text)


def test_style_knows_focus_print_and_still_readers() -> None:
    assert ":focus-visible" in CSS and "outline: none" not in CSS
    assert "@media print" in CSS and "prefers-reduced-motion" in CSS
