"""Folders out of public bug reports, each as it was and as it should have been told of."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.geneval.prompts import metadata_rows
from tests.shared import SHARED, needs_shared
from tests.terminal import ROOT, Terminal

CASES = SHARED / "cases"

pytestmark = needs_shared("cases")


def case(name: str, *parts: str) -> Path:
    [folder] = CASES.glob(f"{name}_*")
    return folder.joinpath(*parts)


def score(harness: Terminal, images: Path, out: str = "out") -> int:
    return harness("score", images, "--threads", 1, "--out", out)


def results(out: str = "out") -> dict[str, Mapping[str, Any]]:
    """Lines of `results.jsonl` by folder and file."""
    lines = [json.loads(line) for line in (Path(out) / "results.jsonl").read_text().splitlines()]
    return {"/".join(Path(line["filename"]).parts[-3::2]): line for line in lines}


@pytest.mark.slow
def test_null_is_absent(harness: Terminal) -> None:
    assert score(harness, case("02", "images")) == 0
    padded = results()
    assert score(harness, case("02", "plain"), "plain") == 0
    plain = results("plain")
    assert [line["correct"] for line in padded.values()] == [True] * 3
    assert [line["metadata"] for line in padded.values()] == [
        line["metadata"] for line in plain.values()
    ]


def test_a_tag_is_required(harness: Terminal, tmp_path: Path) -> None:
    """As by the original, which stops there; here one row less, or none, is scored."""
    assert score(harness, case("04", "images")) == 1
    assert harness.err.count("metadata.jsonl, line 1: 'tag' is missing") == 4, "each, and the end"
    assert "loading" not in harness.err and not Path("out").exists()
    shutil.copytree(case("04", "tagged"), tmp_path / "images")
    (tmp_path / "images" / "00218" / "metadata.jsonl").write_text(
        case("04", "images", "00218", "metadata.jsonl").read_text()
    )
    assert score(harness, tmp_path / "images") == 1
    assert "00218/metadata.jsonl, line 1: 'tag' is missing" in harness.err
    assert "4 of 6 scored, of 3 prompts; 2 not scored, and in no score" in harness.out
    lines = results()
    assert lines["00193/0000.png"]["correct"] is True
    assert lines["00218/0000.png"]["correct"] is None
    assert lines["00218/0000.png"]["reason"].startswith("not scored: ")
    table = harness.out
    assert harness("show", "out") == 0 and harness.out == table


def test_metadata_of_wrong_types_is_refused_before_anything_is_loaded(harness: Terminal) -> None:
    assert score(harness, case("05", "images")) == 1
    before, _, after = harness.err.partition("loading models")
    refused = {line.split("/")[-2] for line in before.splitlines() if line.startswith("refused: ")}
    folders = {path.name for path in case("05", "images").iterdir()}
    # A count of 17 is a number, of which no image can show enough: the official verdict.
    assert refused == folders - {"00006"}
    assert "TypeError" not in harness.err and "refused" not in after
    assert "warning: 1 prompt with a count above 16" in before
    correct = {name[:5]: line["correct"] for name, line in results().items()}
    assert correct == dict.fromkeys(refused) | {"00006": False}


def test_words_that_nobody_can_find_are_said(harness: Terminal) -> None:
    assert score(harness, case("06", "images")) == 0
    before, _, _ = harness.err.partition("loading models")
    for word in ("'remote'", "'Snowboard'", "'grey'", "'on the right of'"):
        assert before.count(word) == 1
    assert [line["correct"] for line in results().values()] == [*[False] * 4, True]


def test_a_dpg_run_of_the_reflect_dit_script(harness: Terminal) -> None:
    source = case("07", "images")
    assert harness("import", source, "--format", "reflect-dit", "--out", "run") == 0
    assert "draws     7 (2.33 a search), budget 3, 0 failed" in harness.out
    assert "judge     accepts 0.667 of the selected images" in harness.out
    assert "scores of 5 draws are shares between 0 and 1" in harness.err
    import harness as product

    frame = product.load("run")
    assert frame["prompt_id"].tolist() == ["00000"] * 3 + ["00001"] + ["00002"] * 3
    assert frame["correct"].isna().all() and frame["error"].isna().all()
    assert frame["judge_sentence"].tolist()[:3] == ["The dog is not red", "The porch is short", ""]
    assert harness("audit", "run") == 0


def snapshot(target: Path) -> Path:
    """The folder of links, whose links may have become files that hold where they led."""
    shutil.copytree(case("09"), target, symlinks=True)
    for path in (target / "snapshots").rglob("*"):
        path.parent.chmod(0o755)
        if path.is_file() and not path.is_symlink():
            link = path.read_text()
            path.unlink()
            path.symlink_to(link)
    return target / "snapshots" / "abc"


def test_a_folder_as_the_hub_keeps_it(harness: Terminal, tmp_path: Path) -> None:
    images = snapshot(tmp_path / "hub")
    assert score(harness, images) == 0
    assert "4 of 4 scored" in harness.out
    assert all(line["correct"] is not None for line in results().values())


def test_nothing_that_could_be_scored_is_no_zero(harness: Terminal, tmp_path: Path) -> None:
    images = snapshot(tmp_path / "hub")
    for blob in (tmp_path / "hub" / "blobs").iterdir():
        blob.chmod(0o644)
        if blob.read_bytes().startswith(b"\x89PNG"):
            blob.unlink()
    for command in (("score", images, "--threads", 1, "--out", "out"), ("show", "out")):
        assert harness(*command) == 1
        assert "0.000" not in harness.out and "0 of 4 scored" in harness.out
        assert "nothing could be scored: " in harness.out
        rows = [line for line in harness.out.splitlines() if "–" in line and " 0 of " in line]
        assert len(rows) == 6, "two tags, macro, micro, per image, per prompt"
    assert [line["correct"] for line in results().values()] == [None] * 4


@pytest.mark.slow
def test_prompts_that_are_cut_are_said(harness: Terminal) -> None:
    for name in ("a", "b"):
        assert harness("run", "--benchmark", "prompt-file", "-B", f"path={case('14', name)}.jsonl",
                       "--strategy", "single", "--judge", "none", "--budget", 1, "--threads", 1,
                       "--out", name) == 0  # fmt: skip
        before, _, _ = harness.err.partition("loading models")
        sentence = "the text encoder cuts the text of 1 of 1 prompts, by id: 1"
        assert f"warning: {sentence}" in before
        assert f"truncated {sentence}" in harness.out
        summary, _, _ = harness.out.partition("look  ")
        assert harness("show", name) == 0 and harness.out == summary
        assert harness("audit", name) == 0
    import harness as product

    a, b = product.load("a"), product.load("b")
    assert a["image"].tolist() == b["image"].tolist(), "which is what has to be said"
    assert a["truncated"].map(list).tolist() == [["text"]]


@pytest.mark.slow
def test_a_list_as_geneval_ships_it_is_read(harness: Terminal) -> None:
    run = ("run", "--benchmark", "prompt-file", "--strategy", "single", "--judge", "none",
           "--threads", 1)  # fmt: skip
    assert harness(*run, "-B", f"path={case('17', 'list.txt')}", "--out", "out") == 0
    assert "searches  2 of 2" in harness.out and "judge" not in harness.out
    assert harness(*run, "-B", f"path={case('17', 'caption.jsonl')}", "--out", "other") == 2
    assert "its keys are caption; name the one with the text 'prompt'" in harness.err


def test_what_came_from_elsewhere_is_spoken_of_as_such(harness: Terminal) -> None:
    source = case("07", "images")
    assert harness("import", source, "--format", "reflect-dit", "--no-images", "--out", "r") == 0
    output = harness.out
    assert harness("resume", "r") == 0 and "already finished: r" in harness.err
    assert harness.out == output, "and what it came to"
    assert harness("export", "r", "--out", "x") == 2
    assert "imported without its images" in harness.err and "--no-images" in harness.err
    assert score(harness, case("02", "plain")) == 0
    output = harness.out
    assert harness("resume", "out") == 0 and "already finished: out" in harness.err
    assert harness.out == output
    assert harness("export", "out", "--out", "x") == 2
    assert "scores of images that lie elsewhere" in harness.err
    assert str(case("02", "plain")) in harness.err and "--keep-images" not in harness.err
    assert not Path("x").exists()


@pytest.mark.slow
def test_a_suite_cannot_leave_the_miniature_s_label_out(harness: Terminal) -> None:
    label = "miniature models: this says something about searching, nothing about SANA"
    assert harness("run", "--model", case("10", "suite.toml"), "--strategy", "single", "--limit",
                   1, "--budget", 1, "--threads", 1, "--out", "run") == 0  # fmt: skip
    assert label in harness.out and "miniature models" in harness.err
    assert harness("show", "run") == 0 and label in harness.out
    assert harness("report", "run", "--out", "page") == 0
    assert label in harness.err + harness.out and label in Path("page/index.html").read_text()
    assert harness("audit", "run", "--regenerate", 0, "--rescore", 0) == 0 and label in harness.out


def test_images_that_are_passed_over_are_counted(harness: Terminal) -> None:
    assert score(harness, case("16", "images")) == 0
    before, _, _ = harness.err.partition("loading models")
    assert "6 files passed over" in before
    for name in (".webp ×3", "sample_0.png", "0_seed42.png", "grid.png"):
        assert name in before
    assert "2 folders without any image" in before
    assert list(results()) == ["00000/0000.png", "00003/0.png"]


def test_the_official_summary_reads_what_was_not_scored(harness: Terminal, tmp_path: Path) -> None:
    """`summary_scores.py` over the file, step by step: null is in none of its means."""
    shutil.copytree(case("02", "plain"), tmp_path / "images")
    bad = tmp_path / "images" / "00001" / "samples" / "0000.png"
    bad.chmod(0o644)
    bad.write_bytes(b"")
    assert score(harness, tmp_path / "images") == 1
    frame = pd.read_json("out/results.jsonl", orient="records", lines=True)
    assert frame["correct"].mean() == 1.0
    tasks = [of["correct"].mean() for _, of in frame.groupby("tag", sort=False)]
    assert np.mean(tasks) == 1.0
    assert "macro (official: mean over tags)  1.000" in harness.out


@pytest.mark.slow
def test_intervals_do_not_depend_on_who_prints_them(harness: Terminal) -> None:
    """`show`, `report` and a copy whose prompts come in another order agree to the last digit."""
    run = ROOT / "results" / "reference" / "single-0"
    assert harness("show", run) == 0
    lines = dict(re.findall(r"^(macro|micro) .*?(0\.\d{3}–0\.\d{3})", harness.out, re.MULTILINE))
    assert harness("report", run, "--out", "page") == 0
    table = pd.read_csv("page/tables/results.csv").set_index("kind").loc[["macro", "micro"]]
    for kind, row in table.iterrows():
        assert lines[kind] == f"{row['low']:.3f}–{row['high']:.3f}"


def elsewhere(images: Path, verdicts: Mapping[str, Mapping[str, Any]], out: Path) -> Path:
    """Scored images as the Reflect-DiT script leaves them: a folder each, numbered anew."""
    for number, (name, line) in enumerate(verdicts.items()):
        folder, file = name.split("/")
        samples = out / f"{number:05d}" / "samples"
        samples.mkdir(parents=True)
        shutil.copy(images / folder / "metadata.jsonl", samples.parent)
        shutil.copy(images / folder / "samples" / file, samples / "00000.png")
        verdict = {"correct": line["correct"], "correct_verifier": True}
        (samples / "00000.png.feedback.json").write_text(json.dumps(verdict))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("-B", "seed=7")], ids=["published", "fresh"])
def test_a_run_its_export_and_an_import_are_measured_alike(
    harness: Terminal, options: tuple[str, ...]
) -> None:
    command = ["--strategy", "single", "--limit", 6, "--replicates", 2, "--threads", 1]
    assert harness("run", *command, *options, "--out", "base") == 0
    assert harness("export", "base", "--out", "images") == 0
    assert score(harness, Path("images"), "scores") == 0
    output = "of GenEval's 553 prompts and" if options else "6 of GenEval's 553 prompts, without 00"
    assert output in harness.out
    source = elsewhere(Path("images"), results("scores"), Path("source"))
    imported = ("import", source, "--format", "reflect-dit", "--out", "imported")
    assert harness(*imported) == 0, harness.err
    for first, second in (("base", "scores"), ("base", "imported"), ("scores", "imported")):
        assert harness("compare", first, second, "--verbose") == 0, harness.err
        assert "nlike" not in harness.err
        assert ("Scorer of recorded-1" in harness.err) is (second == "imported")
        micro = next(line for line in harness.out.splitlines() if line.startswith("micro"))
        assert "+0.000" in micro and " 6 " in micro, micro
    assert harness("audit", "scores") == 0 and harness("audit", "imported") == 0


def official(root: Path, *, without: range = range(0)) -> Path:
    """A folder of the Reflect-DiT script over GenEval's prompts, as the case's `make.py` has it."""
    for number, row in enumerate(metadata_rows()):
        if number in without:
            continue
        samples = root / f"{number:05d}" / "samples"
        samples.mkdir(parents=True)
        (samples.parent / "metadata.jsonl").write_text(json.dumps(row))
        verdict = {"correct": bool(number % 2), "correct_verifier": True}
        (samples / "00000.png.feedback.json").write_text(json.dumps(verdict))
    return root


@pytest.mark.slow
def test_the_published_prompts_are_known_by_what_they_are(harness: Terminal) -> None:
    format_ = ("--format", "reflect-dit", "--no-images")
    assert harness("import", official(Path("full")), *format_, "--out", "whole") == 0
    assert "GenEval's 553 prompts" not in harness.out
    asked = ("--regenerate", 0, "--rescore", 0, "--published", "Reflect-DiT 20", "--json")
    assert harness("audit", "whole", *asked) == 0
    assert "differs in" in harness.out and "prompt set" not in harness.out
    part = official(Path("part"), without=range(100, 109))
    named = "544 of GenEval's 553 prompts, without 00100 '"
    assert harness("import", part, *format_, "--out", "most") == 0
    assert f"prompts   {named}" in harness.out and " and 6 more" in harness.out
    assert harness("show", "most") == 0 and f"prompts   {named}" in harness.out
    assert harness("audit", "most", *asked) == 0 and f"prompt set ({named}" in harness.out
    assert harness("report", "most", "--out", "page") == 0 and named in harness.out
    assert harness("compare", "whole", "most") == 2
    assert re.search(r"differ in prompt set \(.* has 9 that .* has not: 00100 '", harness.err)
    assert harness("compare", "whole", "most", "--force") == 0
    assert named in harness.out and " has not: 00100 '" in harness.err
