"""Published points: drawn where protocol and axis are the same, grey with the reason elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.log.manifest import Manifest
from harness.log.run_folder import RunFolder
from harness.report.bench import make_run
from harness.report.build import Content, Options, report
from harness.seeds import config_digest

SANA = "Efficient-Large-Model/Sana_1600M_1024px_MultiLing_diffusers"


def official(folder: Path, *, side: int = 1024) -> Path:
    """A made-up run whose manifest says it was measured as the published ones were."""
    run: RunFolder = make_run(folder, 553, 4)
    manifest = Manifest.read(run.manifest)
    config = manifest.config
    config["miniature"] = False
    config["benchmark"] = {"name": "geneval", "options": {"seed": 43, "size": 100}}
    config["generator"]["checkpoints"] = {"model": SANA}
    config["generator"]["settings"] = {"height": side, "width": side}
    config["scorer"]["checkpoints"] = {
        "detector": "mask2former-swin-s-coco",
        "colors": "openai/clip-vit-large-patch14",
    }
    replace(manifest, config=config, config_digest=config_digest(config)).write(run.manifest)
    return run.path


def content(folder: Path, out: Path) -> Content:
    return report([folder], out, Options(gallery=("none",))).content


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
    assert "Published GenEval scores" in page and "another generator" in page


def test_another_resolution_makes_all_grey(tmp_path: Path) -> None:
    points = content(official(tmp_path / "run", side=512), tmp_path / "out").points
    assert points["reason"].str.contains("another resolution").all()
