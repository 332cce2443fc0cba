"""Images from elsewhere for a benchmark's own prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from benchmarks.dpg_bench.benchmark import DPGBench
from benchmarks.geneval.benchmark import GenEval
from benchmarks.geneval2.benchmark import VQASCORE
from harness.errors import UsageError
from harness.interop.matching import match
from harness.miniature.geneval2 import MiniatureGenEval2
from harness.records import Prompt
from tests.benchmarks.test_vqa_benchmarks import dpg_file
from tests.models.tiny_vlm import make_qwen
from tests.terminal import Terminal

PROMPTS = [Prompt("a1", "a red cat"), Prompt("b2", "two dogs"), Prompt("0002", "ten cows")]


def draw(path: Path, side: int = 64) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(map(ord, path.name))
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    Pillow.fromarray(pixels).save(path)
    return path


def ids(files: Sequence[tuple[Prompt, Path]]) -> list[tuple[str, str]]:
    return [(prompt.id, path.name) for prompt, path in files]


def test_files_are_named_by_id_up_to_the_first_dot_or_by_number(tmp_path: Path) -> None:
    for name in ("b2.png", "b2.0.jpg", "0.png", "2.png", "99.png", "cat.png", "1.webp", "a.txt"):
        (tmp_path / name).touch()
    (tmp_path / "more.png").mkdir()
    matched = match(tmp_path, PROMPTS)
    assert ids(matched.files) == [
        ("a1", "0.png"), ("b2", "b2.0.jpg"), ("b2", "b2.png"), ("0002", "2.png"),
    ]  # fmt: skip
    assert "4 of no prompt passed over: 1.webp, 99.png, cat.png and 1 more" in matched.notes[0]


def test_where_ids_are_numbers_of_their_own_no_file_is_named_by_a_place(tmp_path: Path) -> None:
    for name in ("0.png", "7.png", "8.png"):
        (tmp_path / name).touch()
    matched = match(tmp_path, [Prompt("7", "a"), Prompt("x", "b"), Prompt("0", "c")])
    assert ids(matched.files) == [("7", "7.png"), ("0", "0.png")]
    assert "1 of no prompt passed over: 8.png" in matched.notes[0]


def test_the_official_dictionary_goes_from_texts_to_files(tmp_path: Path) -> None:
    paths = {"two dogs": "x/7.png", "a red cat": "x/1.png", "a blue cat": "x/2.png"}
    for name in paths.values():
        draw(tmp_path / name, 8)
    (tmp_path / "paths.json").write_text(json.dumps(paths))
    matched = match(tmp_path / "paths.json", [*PROMPTS, Prompt("again", "two dogs")])
    assert ids(matched.files) == [("a1", "1.png"), ("b2", "7.png"), ("again", "7.png")]
    assert "'a blue cat'" in matched.notes[0]
    assert "1 of 4 prompts have no image" in matched.notes[1] and "0002" in matched.notes[1]


def test_geneval_folders_are_matched_by_text(tmp_path: Path) -> None:
    for number, text in enumerate(("two dogs", "a blue cat", None)):
        draw(tmp_path / f"{number:05d}" / "samples" / "0000.png", 8)
        (tmp_path / f"{number:05d}" / "metadata.jsonl").write_text(json.dumps({"prompt": text}))
    (tmp_path / "00000" / "samples" / "0001.webp").touch()
    matched = match(tmp_path, PROMPTS)
    assert [prompt.id for prompt, _ in matched.files] == ["b2"]
    assert "1 file passed over" in matched.notes[0] and ".webp" in matched.notes[0]
    assert "lacks the text of a prompt" in matched.notes[1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", "[1]", "no JSON object"),
        ("x.json", "{", "cannot be read as JSON"),
        ("x.json", '{"a": 1}', "no JSON object"),
        ("x.json", '{"unknown": "x.json"}', "nothing in"),
        ("x.json", '{"a red cat": "none.png"}', "no image 'none.png'"),
        ("x.json", json.dumps({"a red cat": "n" * 5000}), "no image 'nnn.*too long"),
        ("x.json", '{"a red cat": "a\\u0000b"}', "no image 'a"),
        ("x.txt", "", "neither a folder"),
        ("y/cat.png", "", "nothing in"),
    ],
)
def test_what_is_in_none_of_the_forms_is_refused(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    place = tmp_path / name.split("/")[0]
    with pytest.raises(UsageError, match=message):
        match(place, PROMPTS)


@pytest.mark.slow
def test_scored_images_give_the_official_score_lists(harness: Terminal, tmp_path: Path) -> None:
    benchmark = MiniatureGenEval2()
    prompts = benchmark.prompts()[:3]
    paths = {prompt.text: str(draw(tmp_path / f"{prompt.id}.png")) for prompt in prompts[1:]}
    (tmp_path / "paths.json").write_text(json.dumps(paths))
    options = ("--benchmark", "geneval2-miniature", "--out", "scores", "--threads", "1")
    assert harness("score", str(tmp_path / "paths.json"), *options) == 0
    assert "98 of 100 prompts have no image" in harness.err
    assert "by no vision-language model" in harness.err
    assert "micro, the official score" in harness.out and "skills " in harness.out
    lists = json.loads(Path("scores/score_lists.json").read_text())
    assert len(lists) == 100 and lists[0] is None
    assert [len(each) for each in lists[1:3]] == [
        len(prompt.metadata["skills"]) for prompt in prompts[1:]
    ]
    assert VQASCORE not in harness.out


@pytest.mark.slow
def test_grids_give_the_official_results(harness: Terminal, tmp_path: Path) -> None:
    make_qwen(tmp_path / "vlm")
    questions = dpg_file(tmp_path / "q.csv")
    draw(tmp_path / "images" / "7.png")
    draw(tmp_path / "images" / "8.png")
    options = (
        *("--benchmark", "dpg-bench", "-B", f"path={questions}", "-B", "own=true"),
        *("-B", "images_per_file=4", "--scorer", f"vlm={tmp_path / 'vlm'}"),
        *("--out", "scores", "--threads", "1"),
    )
    assert harness("score", str(tmp_path / "images"), *options) == 1
    assert "item '8' has no score: a question depends on proposition 9" in harness.err
    assert "another VQA model" in harness.err
    first, *rest = Path("scores/dpg-bench_results.txt").read_text().splitlines()
    name, *scores = first.split(", ")
    assert name == "7.png" and len(scores) == 5
    assert float(scores[4]) == pytest.approx(sum(map(float, scores[:4])) / 4)
    assert rest[0] == "Variant: patched" and rest[-1] == "Scored: 1 of 2"
    assert DPGBench.notice


@pytest.mark.slow
def test_a_run_by_questions_audits_with_its_evidence_graded_again(harness: Terminal) -> None:
    options = ("--benchmark", "geneval2-miniature", "--strategy", "best-of-n", "--budget", "1")
    assert harness("run", *options, "--limit", "3", "--threads", "1", "--out", "run") == 0
    assert "atomicity-0" in harness.out and "skills " in harness.out
    assert harness("audit", "run", "--rescore", "2") == 0
    assert "3 verdicts" in harness.out


@pytest.mark.slow
def test_a_flat_folder_scores_as_the_layout_does(harness: Terminal, tmp_path: Path) -> None:
    rows = []
    for place, prompt in enumerate(GenEval().prompts()[:3]):
        rows.append(json.dumps(dict(prompt.metadata)))
        folder = tmp_path / "layout" / prompt.id
        for replicate in range(2):
            path = draw(folder / "samples" / f"{replicate:04d}.png", 64 + 32 * place)
            (tmp_path / "flat").mkdir(exist_ok=True)
            name = f"{place:05d}.{replicate}.png"
            (tmp_path / "flat" / name).write_bytes(path.read_bytes())
        (folder / "metadata.jsonl").write_text(rows[-1])
    (tmp_path / "flat" / "stranger.png").write_bytes(path.read_bytes())
    (tmp_path / "prompts.jsonl").write_text("\n".join([*rows, json.dumps({"prompt": "a cat"})]))
    assert harness("score", "layout", "--out", "a", "--threads", "1") == 0
    table = harness.out.split("models")[0]
    options = ("--prompts", "prompts.jsonl", "--threads", "1")
    assert harness("score", "flat", *options, "--out", "b") == 0
    assert harness.out.split("models")[0] == table
    assert "1 of no prompt passed over: stranger.png" in harness.err
    assert "1 of 4 prompts have no image" in harness.err
    draw(tmp_path / "flat" / "3.png")
    assert harness("score", "flat", *options, "--out", "c") == 1
    assert "refused: prompts.jsonl, prompt '00003'" in harness.err
    own = ("--benchmark", "geneval2-miniature", "--out", "d")
    assert harness("score", "flat", *options, *own) == 2 and "prompts of its own" in harness.err
