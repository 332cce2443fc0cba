"""Published points: drawn where protocol and axis are the same, grey with the reason elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.report.build import Options, Report, report
from tests.made_up import official


def content(folder: Path, out: Path) -> Report:
    return report([folder], out, Options(gallery=("none",)))


@pytest.mark.slow
def test_a_match_is_drawn_on_both_axes(tmp_path: Path) -> None:
    points = content(official(tmp_path / "run"), tmp_path / "out").points
    assert not any("miniature" in reason for reason in points["reason"])
    matched = points[points["reason"] == ""]
    assert set(matched["generator"]) == {"SANA-1.0-1.6B"} and len(matched)
    base = matched[matched["method"] == "base"]
    assert len(base) and base["draws"].tolist() == base["n"].tolist()
    # They may stop early, and their source prints the limit only: no place on the axis of draws.
    for early in ("Reflect-DiT", "best-of-N"):
        assert matched[matched["method"] == early]["draws"].isna().all()
    # Another paper's best-of-N draws all that it may.
    wide = points[(points["method"] == "best-of-N") & (points["n"] == 2048)]
    assert len(wide) and (wide["draws"] == 2048).all()
    others = points[points["generator"] == "Stable Diffusion XL"]["reason"]
    assert len(others) and (others == "another generator").all()
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Published scores" in page and "another generator" in page


@pytest.mark.slow
def test_another_resolution_makes_all_grey(tmp_path: Path) -> None:
    points = content(official(tmp_path / "run", side=512), tmp_path / "out").points
    assert points["reason"].str.contains("another resolution").all()
