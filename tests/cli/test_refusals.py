"""What can be known to be wrong is refused before models are loaded, with a hint that helps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.log.files import check_writable
from harness.registry import SUITES
from tests.terminal import STUB, Terminal

PLACES = ["file/r", "file/a/b", "/proc/r", "/proc/1/r", "/dev/null/r", "x" * 300]


@pytest.fixture(autouse=True)
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model of any executor, and none for a measurement."""

    def load(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("harness.engine.worker.load", load)
    monkeypatch.setattr("harness.engine.calibration.calibrate", load)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("more", [[], ["--batch-size", "auto"]], ids=["plain", "auto"])
def test_a_run_that_could_not_be_written(
    harness: Terminal, suite: Path, place: str, more: list[str]
) -> None:
    Path("file").write_text("mine")
    assert harness("run", "--model", suite, *STUB, "--out", place, *more) in (1, 2)
    assert f"error: cannot write {place}: " in harness.err and "--out" in harness.err
    assert "loading" not in harness.err and "measuring" not in harness.err
    assert Path("file").read_text() == "mine" and not Path("results").exists()


@pytest.mark.parametrize("place", PLACES)
def test_scores_that_could_not_be_written(harness: Terminal, images: Path, place: str) -> None:
    Path("file").write_text("mine")
    assert harness("score", images, "--out", place) in (1, 2)
    assert f"error: cannot write {place}: " in harness.err and "--out" in harness.err
    assert "loading" not in harness.err


def test_a_default_place_that_could_not_be_written(harness: Terminal, suite: Path) -> None:
    Path("results").write_text("mine")
    for more in ([], ["--batch-size", "auto"]):
        assert harness("run", "--model", suite, *STUB, *more) == 1
        assert "cannot write results" in harness.err and "loading" not in harness.err
        assert "measuring" not in harness.err


def test_a_run_that_cannot_be_written_any_more(
    harness: Terminal, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("r").mkdir()
    create = os.open

    def read_only(path: object, flags: int, *rest: int) -> int:
        if flags & os.O_CREAT and Path("r").resolve() == Path(str(path)).resolve().parent:
            raise PermissionError(13, "Permission denied")
        return create(path, flags, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", read_only)
    assert harness("run", "--model", suite, *STUB, "--out", "r") == 1
    assert "cannot write r: Permission denied" in harness.err and "loading" not in harness.err


def test_trying_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    for place in ("there", "there/a/b/c", "new"):
        check_writable(tmp_path / place)
        assert sorted(tmp_path.rglob("*")) == before


BAD = [
    (["--scorer", "prat=x"], "the scorer has no part 'prat'", "colors, detector"),
    (["--scorer", "detectr=x"], "the scorer has no part 'detectr'", "did you mean 'detector'?"),
    (["--judge", "vlm"], "the judge 'vlm' needs a checkpoint", "--judge vlm="),
    (["--judge", "vlm="], "--judge vlm= names no checkpoint", "--judge vlm="),
    (["--judge", "none=x"], "the judge 'none' takes no checkpoint", "say --judge none"),
    (["--gpu-share", "generator=1"], "--gpu-share: there is no GPU here", "--address"),
    (["--gpu-share", "scorer=0.1", "--executor", "ray"], "there is no GPU here", "leave it out"),
    (["--gpu-share", "judge=1", "--executor", "inline"], "there is no GPU here", ""),
    (["--model", "sana"], "unknown model 'sana'", "did you mean 'sana-1.0-1.6b'?"),
    (["--model", "SANA-1.0"], "unknown model 'SANA-1.0'", "did you mean 'sana-1.0-1.6b'?"),
    (["--model", "mini"], "unknown model 'mini'", "did you mean 'miniature'?"),
    (["--model", "org/name"], "checkpoint 'org/name' is not on this", "hf download org/name"),
    (["--benchmark", "prompt-file"], "'prompt-file' needs -B path=VALUE", "path (text)"),
    (["--benchmark", "prompt-file", "-B", "path"], "got 'path'", "-B path=prompts.jsonl"),
    (["--benchmark", "prompt-file", "-B", "path="], "-B path names no file", "-B path="),
    (["--benchmark", "prompt-file", "-B", "path=no.jsonl"], "no prompt file no.jsonl", "looked in"),
    (["--benchmark", "prompt-file", "-B", "path=no.txt"], "no prompt file no.txt", "looked in"),
    (["--benchmark", "prompt-file", "-B", "path=p.csv", "--scorer", "detector=x"],
     "has no scorer, so --scorer has nothing to change", "leave it out"),
    (["-G", "steps=3"], "no option 'steps'", "did you mean 'num_inference_steps'?"),
    (["-G", "width"], "-G takes name=value", "-G guidance_scale=4.5"),
    (["--scorer", "detector"], "--scorer takes name=value", "--scorer detector=FOLDER"),
    (["--scorer", "detector=bundled:eyes"], "no bundled checkpoint 'eyes'", "known: base, colors"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "says", "hint"), BAD)
def test_a_request_that_cannot_be_met(
    harness: Terminal, arguments: list[str], says: str, hint: str
) -> None:
    import torch

    if "--gpu-share" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    Path("p.csv").write_text("prompt\na cat\n")
    before = sorted(Path().iterdir())
    assert harness("run", "--limit", "2", *arguments) in (1, 2)
    error, *hints = harness.err.strip().splitlines()
    assert error.startswith("error: ") and says in error and hint in "".join(hints)
    assert "digests.json" not in harness.err and sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("role", "line", "says"),
    [
        ("scorer", "detektor = ", "the scorer has no part 'detektor'"),
        ("judge", "detektor = ", "the judge 'detector' has no checkpoint 'detektor'"),
        ("scorer", "", "the scorer of benchmark 'geneval' needs a checkpoint 'detector'"),
        ("judge", "", "the judge 'detector' needs a checkpoint 'detector'"),
    ],
)
def test_a_suite_s_misspelt_parts(harness: Terminal, role: str, line: str, says: str) -> None:
    suite = SUITES.get("miniature").read_text().splitlines()
    [place] = [n for n, text in enumerate(suite) if text == f"[{role}]"]
    [at] = [n for n, text in enumerate(suite[place:], place) if "detector = " in text][:1]
    if line:
        suite[at] = suite[at].replace("detector = ", line, 1)
    else:
        suite[at] = 'checkpoints = { colors = "bundled:colors" }'
    Path("mine.toml").write_text("\n".join(suite))
    assert harness("run", "--limit", "2", "--model", "mine.toml", "--out", "r") == 2
    assert f"error: {says}" in harness.err and "loading" not in harness.err


@pytest.mark.parametrize(
    ("settings", "says"), [("max_overlp = 0.5", "no option 'max_overlp'"), ("resize = 3", "resize")]
)
@pytest.mark.parametrize("role", ["scorer", "judge"])
def test_a_suite_s_bad_settings(harness: Terminal, role: str, settings: str, says: str) -> None:
    text = f"{SUITES.get('miniature').read_text()}\n[{role}.settings]\n{settings}\n"
    Path("mine.toml").write_text(text)
    assert harness("run", "--limit", "2", "--model", "mine.toml", "--out", "r") == 2
    assert says in harness.err and "loading" not in harness.err


def test_a_hint_shows_the_suite_s_own_defaults(harness: Terminal) -> None:
    assert harness("run", "--limit", "2", "-G", "num_inference_steps=few") == 2
    assert "'generator reflect-dit' cannot take -G num_inference_steps=few" in harness.err
    assert "num_inference_steps=8 " in harness.err and "height=64 " in harness.err
