from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import harness
from harness.audit.audit import audit
from harness.audit.audited_run import AuditedRun
from harness.errors import HarnessError, UsageError
from harness.interop.export import export
from harness.interop.importing import row_of_budgets
from harness.interop.layout import read_layout
from harness.log.run_folder import RunFolder
from harness.runs.summary import summarise
from harness.seeds import pixel_digest
from tests.foreign import BUDGET, imported, published, script_output


@pytest.mark.sampled(1)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_follow_the_published_analysis(tmp_path: Path, suffix: str, seed: int) -> None:
    source = script_output(tmp_path / "source", suffix=suffix, seed=seed)
    result = imported(source, tmp_path / "run")
    assert (result.searches, result.budget, result.problems, result.surplus) == (20, BUDGET, (), 0)
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
    result = imported(source, tmp_path / "run")
    assert len(result.problems) == 3
    assert "00000: no feedback on 7 of 12 images (from 00005 on)" in result.problems
    assert any("00001.png: neither PNG" in line for line in result.problems)
    assert any(line.startswith(str(broken.relative_to(source))) for line in result.problems)
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
    result = imported(source, tmp_path / "run", keep_images=False)
    (problem,) = result.problems
    assert problem.startswith("00000/samples/00002.png.feedback.json: ")
    frame = harness.load(tmp_path / "run")
    assert frame["error"].notna().tolist() == [i == 2 for i in range(BUDGET)]
    assert frame["image"].isna().all()


def test_images_left_over_from_an_earlier_run(tmp_path: Path) -> None:
    source = script_output(tmp_path / "source", prompts=2)
    output = {"prompt": "x", "correct": True, "correct_verifier": True, "text_feedback": ""}
    (source / "00000" / "samples" / "00003.png.feedback.json").write_text(json.dumps(output))
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
        saved = {name: value for name, value in entry.items() if not name.endswith("_verifier")}
        path.write_text(json.dumps(saved))
    imported(source, tmp_path / "oracle")
    assert summarise(tmp_path / "oracle").manifest.config["oracle"]


def rewrite(path: Path, **fields: object) -> None:
    content = json.loads(path.read_text())
    entry = content[-1] if isinstance(content, list) else content
    path.write_text(json.dumps({**entry, **fields}))


def test_one_bad_row_of_metadata_is_named_and_the_rest_has_scores(tmp_path: Path) -> None:
    source = script_output(tmp_path / "source", prompts=6)
    imported(source, tmp_path / "whole")
    good = (source / "00001" / "metadata.jsonl").read_text()
    row = json.loads(good)
    bad = {
        "00001": "",
        "00002": json.dumps({k: v for k, v in row.items() if k != "tag"}),
        "00003": good.replace('"count": 1', '"count": NaN'),
        "00004": '{"prompt": "no objects", "tag": "t"}',
    }
    for name, text in bad.items():
        (source / name / "metadata.jsonl").write_text(text)
    result = imported(source, tmp_path / "run")
    assert (result.searches, result.refused) == (6, 4)
    for name, piece in zip(bad, ("empty", "'tag'", '"count" is NaN', "'include'"), strict=True):
        [problem] = [p for p in result.problems if f"/{name}/metadata.jsonl, line 1: " in p]
        assert piece in problem
    whole, frame = (harness.load(tmp_path / name) for name in ("whole", "run"))
    for column in ("prompt_id", "draw_index", "accepted", "judge_sentence", "image", "selected"):
        assert frame[column].tolist() == whole[column].tolist(), "no draw and no verdict is lost"
    refused = frame["prompt_id"].isin(list(bad))
    assert frame.loc[refused, "correct"].isna().all()
    assert frame.loc[~refused, "correct"].tolist() == whole.loc[~refused, "correct"].tolist()
    assert set(row_of_budgets(RunFolder(tmp_path / "run"))) == {4, 8, 12}
    assert all(0 <= value <= 1 for value in row_of_budgets(RunFolder(tmp_path / "run")).values())
    audited = [r for r in audit(AuditedRun(RunFolder(tmp_path / "run"))) if r.failed]
    assert not audited


def test_no_good_row_of_metadata_is_no_import(tmp_path: Path) -> None:
    source = script_output(tmp_path / "source", prompts=2)
    for folder in source.glob("0*"):
        (folder / "metadata.jsonl").write_text('{"include": [], "prompt": "a cat"}')
    with pytest.raises(HarnessError, match=r"00000/metadata\.jsonl, line 1: 'include' is empty"):
        imported(source, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_empty_cells_of_a_csv_are_absent(tmp_path: Path) -> None:
    """The script's prompts of one's own: rows of a CSV file, a dummy for a benchmark."""
    source = script_output(tmp_path / "source", prompts=2)
    for folder in source.glob("0*"):
        (folder / "metadata.jsonl").write_text('{"prompt": "a castle", "style": NaN, "tag": NaN}')
        for path in folder.glob("samples/*.json"):
            rewrite(path, correct=1)
    result = imported(source, tmp_path / "run")
    assert (result.problems, result.refused) == ((), 0)
    assert summarise(tmp_path / "run").accepted is not None


@pytest.mark.parametrize("correct", [float("nan"), None, "yes", 7, 0.5])
def test_a_verdict_without_a_score_is_no_failed_draw(tmp_path: Path, correct: object) -> None:
    source = script_output(tmp_path / "source", prompts=2)
    path = source / "00000" / "samples" / "00002.png.feedback.json"
    expected = harness.load(imported_at(source, tmp_path / "whole"))
    rewrite(path, correct=correct)
    result = imported(source, tmp_path / "run")
    [problem] = result.problems
    assert problem.startswith("00000/samples/00002.png.feedback.json: 'correct' is ")
    frame = harness.load(tmp_path / "run")
    assert frame["accepted"].tolist() == expected["accepted"].tolist()
    assert frame["error_role"].dropna().tolist() == ["scorer"]
    assert frame.loc[2, "correct"] is None and frame.loc[2, "judge_sentence"] == "wrong 2"


def imported_at(source: Path, run: Path) -> Path:
    imported(source, run)
    return run


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_failed_draw(tmp_path: Path, encoding: str) -> None:
    source = script_output(tmp_path / "source", prompts=2)
    expected = harness.load(imported_at(source, tmp_path / "whole"))
    for path in [*source.rglob("*.json"), *source.rglob("metadata.jsonl")]:
        path.write_text(path.read_text(), encoding=encoding)
    assert imported(source, tmp_path / "run").problems == ()
    frame = harness.load(tmp_path / "run")
    for column in ("accepted", "correct", "judge_sentence", "prompt"):
        assert frame[column].tolist() == expected[column].tolist()


def test_files_of_one_number_and_of_impossible_ones(tmp_path: Path) -> None:
    source = script_output(tmp_path / "source", prompts=2)
    samples = source / "00000" / "samples"
    for name in ("00000.jpg.feedback.json", "2147483647.png.feedback.json"):
        (samples / name).write_text('{"correct": true, "correct_verifier": true}')
    result = imported(source, tmp_path / "run")
    assert result.budget == BUDGET
    assert [problem.partition(": ")[2].split(",")[0] for problem in result.problems] == [
        "passed over", "passed over"
    ]  # fmt: skip
    assert not harness.load(tmp_path / "run").loc[0, "accepted"]


def test_folders_of_equal_metadata_are_searches_of_one_prompt(tmp_path: Path) -> None:
    source = script_output(tmp_path / "source", prompts=4)
    for name, first in (("00002", "00001"), ("00003", "00001")):
        text = (source / first / "metadata.jsonl").read_text()
        (source / name / "metadata.jsonl").write_text(text)
    imported(source, tmp_path / "run")
    searches = harness.load(tmp_path / "run").groupby(["prompt_id", "replicate"]).size()
    assert list(searches.index) == [("00000", 0), *(("00001", n) for n in range(3))]
    audited = [r for r in audit(AuditedRun(RunFolder(tmp_path / "run"))) if r.failed]
    assert not audited


def test_a_run_as_the_hub_keeps_it(tmp_path: Path) -> None:
    """Links to blobs beside the snapshot are the folder's own; others lead out of it."""
    source = script_output(tmp_path / "source", prompts=2)
    expected = harness.load(imported_at(source, tmp_path / "whole"))
    snapshot, blobs = (tmp_path / "hub" / name for name in ("snapshots/abc", "blobs"))
    shutil.copytree(source, snapshot)
    blobs.mkdir()
    for number, path in enumerate(sorted(p for p in snapshot.rglob("*") if p.is_file())):
        path.rename(blobs / str(number))
        path.symlink_to(blobs / str(number))
    assert imported(snapshot, tmp_path / "run").problems == ()
    frame = harness.load(tmp_path / "run")
    assert frame["image"].tolist() == expected["image"].tolist()
    elsewhere = snapshot / "00000" / "samples" / "00000.png.feedback.json"
    elsewhere.unlink()
    elsewhere.symlink_to(source / "00000" / "samples" / "00000.png.feedback.json")
    [problem] = imported(snapshot, tmp_path / "other").problems
    assert "leads out of the folder" in problem
