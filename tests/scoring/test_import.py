from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import harness
from harness.analysis.summary import summarise
from harness.errors import UsageError
from harness.log.run_folder import RunFolder
from harness.scoring.export import export
from harness.scoring.importing import row_of_budgets
from harness.scoring.layout import read_layout
from harness.seeds import pixel_digest
from tests.foreign import BUDGET, imported, published, script_output


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_follow_the_published_analysis(tmp_path: Path, suffix: str, seed: int) -> None:
    source = script_output(tmp_path / "source", suffix=suffix, seed=seed)
    found = imported(source, tmp_path / "run")
    assert (found.prompts, found.budget, found.problems, found.surplus) == (20, BUDGET, (), 0)
    expected = published(source)
    row = row_of_budgets(RunFolder(tmp_path / "run"))
    assert row == pytest.approx({n: expected[n - 1] for n in (4, 8, 12)})
    summary = summarise(tmp_path / "run")
    assert summary.micro is not None and summary.micro.value == pytest.approx(expected[-1])
    assert summary.manifest.state == "finished"
    count = len(list(source.glob("**/*.feedback.json")))
    assert (summary.draws, summary.draws_failed) == (count, 0)


def test_the_log_says_what_is_known_and_no_more(tmp_path: Path) -> None:
    source = script_output(tmp_path / "source", prompts=3)
    imported(source, tmp_path / "run")
    frame = harness.load(tmp_path / "run")
    assert frame["seed"].isna().all() and frame["feedback"].isna().all()
    assert frame["generator_nfe"].isna().all()
    first = frame[frame["prompt_id"] == "00000"]
    assert first["judge_sentence"].tolist() == [f"wrong {i}" for i in range(BUDGET)]
    assert first["selected"].tolist() == [False] * (BUDGET - 1) + [True]
    for row in frame.itertuples():
        path = source / str(row.prompt_id) / "samples" / f"{row.draw_index:05d}.png"
        assert row.image == pixel_digest(np.asarray(Pillow.open(path)))


def test_selected_images_can_be_exported_and_scored_again(tmp_path: Path) -> None:
    source = script_output(tmp_path / "source", prompts=4, suffix="jpg")
    imported(source, tmp_path / "run")
    assert export(tmp_path / "run", tmp_path / "out").images == 4
    for folder in read_layout(tmp_path / "out"):
        (image,) = folder.images
        last = sorted((source / folder.prompt.id / "samples").glob("*.jpg"))[-1]
        assert np.array_equal(np.asarray(Pillow.open(image)), np.asarray(Pillow.open(last)))
        assert folder.prompt.metadata["include"]


def test_what_is_missing_or_broken_is_named_and_the_rest_imported(tmp_path: Path) -> None:
    source = script_output(tmp_path / "source")
    samples = source / "00000" / "samples"
    for index in range(5, BUDGET):  # broken off: the last image is carried forward all the same
        (samples / f"{index:05d}.png.feedback.json").unlink()
    (samples / "00001.png").write_bytes(b"no image")
    broken = next(p for p in source.glob("000*/samples/00000.png.feedback.json") if "00000/" not in
                  str(p.relative_to(source)))  # fmt: skip
    expected = published(source)
    broken.write_text("{")
    found = imported(source, tmp_path / "run")
    assert len(found.problems) == 3
    assert "00000: no feedback on 7 of 12 images (from 00005 on)" in found.problems
    assert any("00001.png: neither PNG" in line for line in found.problems)
    assert any(line.startswith(str(broken.relative_to(source))) for line in found.problems)
    frame = harness.load(tmp_path / "run")
    chosen = frame[(frame["prompt_id"] == "00000") & frame["selected"]]
    assert chosen["draw_index"].tolist() == [4]
    whole = summarise(tmp_path / "run")
    assert whole.micro is not None and whole.searches == 20
    if frame[(frame["prompt_id"] == broken.parents[1].name)]["error"].notna().sum() == 1:
        assert abs(whole.micro.value - expected[-1]) <= 1 / 20 + 1e-9


@pytest.mark.parametrize(
    "content",
    ["", "[]", "3", "[3]", "{}", '{"correct": "yes"}', '{"correct": 2}', '{"correct": NaN}',
     '{"correct": true, "correct_verifier": null}', "[" * 100_000],
)  # fmt: skip
def test_nonsense_is_a_failed_draw(tmp_path: Path, content: str) -> None:
    source = script_output(tmp_path / "source", prompts=1)
    (source / "00000" / "samples" / "00002.png.feedback.json").write_text(content)
    found = imported(source, tmp_path / "run", keep_images=False)
    (problem,) = found.problems
    assert problem.startswith("00000/samples/00002.png.feedback.json: ")
    frame = harness.load(tmp_path / "run")
    assert frame["error"].notna().tolist() == [i == 2 for i in range(BUDGET)]
    assert frame["image"].isna().all()


def test_images_left_over_from_an_earlier_run(tmp_path: Path) -> None:
    source = script_output(tmp_path / "source", prompts=2)
    said = {"prompt": "x", "correct": True, "correct_verifier": True, "text_feedback": ""}
    (source / "00000" / "samples" / "00003.png.feedback.json").write_text(json.dumps(said))
    assert imported(source, tmp_path / "run").surplus == BUDGET - 4
    assert (harness.load(tmp_path / "run")["prompt_id"] == "00000").sum() == 4


def test_the_judge_as_the_benchmark(tmp_path: Path) -> None:
    source = script_output(tmp_path / "source", prompts=1)
    path = source / "00000" / "samples" / "00001.png.feedback.json"
    path.write_text(json.dumps({"prompt": "x", "correct": True, "text_feedback": "fine"}))
    imported(source, tmp_path / "run")
    frame = harness.load(tmp_path / "run")
    assert frame["accepted"].tolist() == [False, True] and frame["correct"].tolist()[1]
    assert frame["judge_sentence"].tolist()[1] == "fine"


def test_prompts_that_are_not_geneval_s_have_no_score(tmp_path: Path) -> None:
    source = script_output(tmp_path / "source", prompts=2)
    for folder in source.glob("0*"):
        (folder / "metadata.jsonl").write_text('{"prompt": "a castle"}')
    imported(source, tmp_path / "run")
    assert summarise(tmp_path / "run").micro is None
    assert harness.load(tmp_path / "run")["correct"].isna().all()


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        imported(tmp_path / "nowhere", tmp_path / "run")
    source = script_output(tmp_path / "source", prompts=1)
    with pytest.raises(UsageError, match="not empty"):
        imported(source, source)
    for path in source.glob("**/*.feedback.json"):
        path.unlink()
    with pytest.raises(UsageError, match="no feedback files"):
        imported(source, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_benchmark_that_was_its_own_judge_is_an_oracle(tmp_path: Path) -> None:
    source = script_output(tmp_path / "source", prompts=3)
    imported(source, tmp_path / "judged")
    assert not summarise(tmp_path / "judged").manifest.config["oracle"]
    for path in source.glob("**/*.feedback.json"):
        content = json.loads(path.read_text())
        entry = content[-1] if isinstance(content, list) else content
        kept = {name: value for name, value in entry.items() if not name.endswith("_verifier")}
        path.write_text(json.dumps(kept))
    imported(source, tmp_path / "oracle")
    assert summarise(tmp_path / "oracle").manifest.config["oracle"]
