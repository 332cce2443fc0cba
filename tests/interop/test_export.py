from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import harness
from benchmarks.dpg_bench.grids import split
from harness.errors import HarnessError, UsageError
from harness.interop import dataset
from harness.interop.export import export
from harness.interop.layout import read_layout
from harness.log.manifest import Manifest
from harness.seeds import pixel_digest
from tests.runs import run, stub_plan
from tests.stubs import make_stub_suite
from tests.terminal import Terminal

pytestmark = pytest.mark.usefixtures("import_stubs")


def run_over(folder: Path, text: str) -> Path:
    """Make a run over a prompt file in a folder; returns the file."""
    suite, _ = make_stub_suite(folder)
    prompts = folder / "prompts.jsonl"
    prompts.write_text(text)
    ask = {"benchmark": "prompt-file", "benchmark_options": {"path": str(prompts)}}
    run(stub_plan(suite, budget=1, **ask), folder / "run")
    return prompts


def test_selected_images_one_sample_a_replicate(tmp_path: Path) -> None:
    suite, _ = make_stub_suite(tmp_path)
    run(stub_plan(suite, budget=3, replicates=2), tmp_path / "run")
    done = export(tmp_path / "run", tmp_path / "out")
    assert (done.prompts, done.images, done.missing) == (10, 20, ())
    frame = harness.load(tmp_path / "run")
    chosen = frame[frame["selected"]].set_index(["prompt_id", "replicate"])["image"]
    for folder in read_layout(tmp_path / "out"):
        assert folder.prompt.text == f"thing {int(folder.prompt.id)}"
        assert [path.name for path in folder.images] == ["0000.png", "0001.png"]
        for replicate, path in enumerate(folder.images):
            pixels = np.asarray(Pillow.open(path))
            assert pixel_digest(pixels) == chosen[folder.prompt.id, replicate]


def test_metadata_is_what_the_benchmark_says(tmp_path: Path) -> None:
    run_over(tmp_path, '{"prompt": "a cat", "id": "x", "tag": "t", "k": 1}\n')
    export(tmp_path / "run", tmp_path / "out")
    written = json.loads((tmp_path / "out" / "00000" / "metadata.jsonl").read_text())
    assert written == {"tag": "t", "k": 1, "prompt": "a cat"}


def test_what_is_null_is_not_exported_as_a_requirement(tmp_path: Path) -> None:
    row = {"tag": "colors", "include": [{"class": "cat", "count": 1}], "prompt": "a photo of a cat"}
    padded = {**row, "include": [{**row["include"][0], "color": None}], "exclude": None}  # type: ignore[index, dict-item]
    run_over(tmp_path, json.dumps(padded))
    export(tmp_path / "run", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "00000" / "metadata.jsonl").read_text()) == row


def test_what_is_missing_or_damaged_is_named_and_the_rest_written(tmp_path: Path) -> None:
    suite, faults = make_stub_suite(tmp_path)
    faults.add("generator", "error", "on-3")
    run(stub_plan(suite, budget=1), tmp_path / "run")
    frame = harness.load(tmp_path / "run")
    digest = frame.loc[frame["prompt_id"] == "00005", "image"].item()
    path = tmp_path / "run" / "images" / digest[:2] / f"{digest}.png"
    Pillow.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    done = export(tmp_path / "run", tmp_path / "out")
    assert done.images == 8
    assert [line.partition(":")[0] for line in done.missing] == [
        "prompt 00003, replicate 0",
        "prompt 00005, replicate 0",
    ]
    assert "damaged" in done.missing[1] and "every draw failed" in done.missing[0]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    suite, _ = make_stub_suite(tmp_path)
    run(stub_plan(suite, budget=1), tmp_path / "run")
    with pytest.raises(UsageError, match="not an empty folder"):
        export(tmp_path / "run", tmp_path / "run")
    run(stub_plan(suite, budget=1, keep_images="none"), tmp_path / "bare")
    with pytest.raises(UsageError, match="keep no images"):
        export(tmp_path / "bare", tmp_path / "out")


@pytest.mark.parametrize(
    "text",
    [
        '["00000","a cat","",{}]\n',
        '{"id": "00000", "text": "a cat", "tag": "", "metadata": {}}\n',
        "",
        "no JSON",
        "[" * 10_000,
        '["00000",5,"",{}]\n',
        "5\n",
        "\udcff",
    ],
)
def test_other_prompts_than_the_run_s_own_are_refused(tmp_path: Path, text: str) -> None:
    suite, _ = make_stub_suite(tmp_path)
    run(stub_plan(suite, budget=1), tmp_path / "run")
    (tmp_path / "run" / "prompts.jsonl").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(HarnessError, match=r"prompts\.jsonl"):
        export(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_keeps_its_prompts_whatever_becomes_of_their_file(tmp_path: Path) -> None:
    prompts = run_over(tmp_path, '{"prompt": "a cat"}\n{"prompt": "a dog"}\n')
    manifest = Manifest.read(tmp_path / "run" / "manifest.json")
    text = (tmp_path / "run" / "prompts.jsonl").read_bytes()
    assert hashlib.sha256(text).hexdigest() == manifest.prompt_set.digest
    prompts.write_text('{"prompt": "a zebra"}\n{"prompt": "a cat"}\n{"prompt": "a dog"}\n')
    export(tmp_path / "run", tmp_path / "out")
    assert [folder.prompt.text for folder in read_layout(tmp_path / "out")] == ["a cat", "a dog"]
    # A run of a former version kept none: it is its file's or nothing.
    (tmp_path / "run" / "prompts.jsonl").unlink()
    with pytest.raises(HarnessError, match="other prompts"):
        export(tmp_path / "run", tmp_path / "former")


def test_grids_are_read_as_they_were_written(tmp_path: Path) -> None:
    suite, faults = make_stub_suite(tmp_path)
    faults.add("generator", "error", "on-3")
    run(stub_plan(suite, budget=2, replicates=4), tmp_path / "run")
    done = export(tmp_path / "run", tmp_path / "out", "dpg-bench")
    assert (done.prompts, done.images, len(done.missing)) == (10, 9, 4)
    frame = harness.load(tmp_path / "run")
    chosen = frame[frame["selected"]].set_index(["prompt_id", "replicate"])["image"]
    for path in (tmp_path / "out").iterdir():
        parts = split(np.asarray(Pillow.open(path)), 4)
        for replicate, image in enumerate(parts):
            assert pixel_digest(image) == chosen[path.stem, replicate]
    run(stub_plan(suite, budget=1, replicates=2), tmp_path / "two")
    with pytest.raises(UsageError, match="2 images a prompt"):
        export(tmp_path / "two", tmp_path / "other", "dpg-bench")
    assert not (tmp_path / "other").exists()


def test_a_file_is_named_by_no_path(tmp_path: Path) -> None:
    run_over(tmp_path, '{"prompt": "a", "id": "../x"}\n{"prompt": "b", "id": "ok-1"}\n')
    export(tmp_path / "run", tmp_path / "out", "dpg-bench")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"00000.png", "ok-1.png"}
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("layout", ["geneval", "dpg-bench", "hf-dataset", "fiftyone", "csv"])
def test_an_export_that_breaks_off_leaves_nothing_half_written(
    harness: Terminal, suite: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    run(stub_plan(suite, budget=1), Path("run"))
    Path("there").mkdir()
    names = {path.name for path in Path().iterdir()}

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("harness.interop.export.Export", stop)
        patch.setattr(dataset, "summarise", stop)
        patch.setattr("harness.interop.draws.cell", stop)
        for out in ("new", "there"):
            assert harness("export", "run", "--format", layout, "--out", out) == 130
            assert harness.err.endswith("stopped\n")
            assert not list(Path("there").iterdir())
    assert {path.name for path in Path().iterdir()} <= names | {"new"}
    for out in ("new", "there"):
        assert harness("export", "run", "--format", layout, "--out", out) == 0, harness.err
        assert list(Path(out).iterdir())


@pytest.mark.parametrize("layout", ["geneval", "dpg-bench", "hf-dataset"])
def test_a_run_of_which_no_image_is_left_is_an_error(
    harness: Terminal, suite: Path, layout: str
) -> None:
    run(stub_plan(suite, budget=1), Path("run"))
    shutil.rmtree("run/images")
    assert harness("export", "run", "--format", layout, "--out", "out") == 1
    assert harness.err.startswith("error: none of the images of run is there: prompt 00000, ")
    assert "hint: python -m harness repair run" in harness.err
    assert not Path("out").exists()
