from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import HarnessError, UsageError
from harness.models import checkpoints
from harness.models.checkpoints import look, require, resolve

HUB = "some-org/some-model"


@pytest.fixture(autouse=True)
def empty_hub_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


def cached(cache: Path, revision: str = "main") -> Path:
    commit = "0" * 40
    repo = cache / "models--some-org--some-model"
    snapshot = repo / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / revision).write_text(commit)
    (snapshot / "config.json").write_text("{}")
    return snapshot


def test_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    assert look(str(tmp_path / "model")).path == tmp_path / "model"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert look("~/model").path == tmp_path / "model"
    monkeypatch.chdir(tmp_path)
    assert resolve("./model") == tmp_path / "model"


def test_a_file_is_no_checkpoint_and_no_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "detector.pth").write_bytes(b"weights")
    for ref in ("models/detector.pth", str(tmp_path / "models" / "detector.pth")):
        with pytest.raises(UsageError, match=r"detector\.pth' is a file, expected a folder"):
            resolve(ref)


def test_a_bundled_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "BUNDLED", tmp_path)
    (tmp_path / "base").mkdir()
    assert look("bundled:base").path == tmp_path / "base"
    with pytest.raises(HarnessError, match="no bundled checkpoint 'bsae'") as caught:
        resolve("bundled:bsae")
    assert "did you mean 'base'" in caught.value.hint


@pytest.mark.parametrize(
    "ref",
    ["bundled:", "bundled:../secrets", "bundled:a/b", "", "  ", "./\0", "~\0", "a/b\0", "x" * 5000],
)
def test_what_is_no_reference(ref: str) -> None:
    with pytest.raises(UsageError) as caught:
        look(ref)
    assert len(caught.value.message) < 200 and "FOLDER" in caught.value.hint


@pytest.mark.parametrize("ref", ["x" * 300, f"./{'x' * 300}", f"a/{'x' * 300}"])
def test_a_name_that_no_file_system_takes_is_not_there(ref: str) -> None:
    assert look(ref).path is None


@pytest.mark.parametrize("where", ["some-model", "some-org/some-model"])
def test_the_checkpoint_folder_of_the_environment(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / where).mkdir(parents=True)
    monkeypatch.setenv("HARNESS_CHECKPOINTS", str(tmp_path))
    assert look(HUB).path == tmp_path / where


def test_a_revision_is_not_answered_with_an_unmarked_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some-model").mkdir()
    monkeypatch.setenv("HARNESS_CHECKPOINTS", str(tmp_path))
    assert look(f"{HUB}@v2").path is None
    (tmp_path / "some-model@v2").mkdir()
    assert look(f"{HUB}@v2").path == tmp_path / "some-model@v2"


def test_a_bare_name_lies_in_the_checkpoint_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HarnessError, match="no checkpoint 'converted'") as caught:
        resolve("converted")
    assert "$HARNESS_CHECKPOINTS is not set" in caught.value.hint
    (tmp_path / "converted").mkdir()
    monkeypatch.setenv("HARNESS_CHECKPOINTS", str(tmp_path))
    assert resolve("converted") == tmp_path / "converted"


def test_the_environments_folder_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret").mkdir()
    monkeypatch.setenv("HARNESS_CHECKPOINTS", str(tmp_path / "inside"))
    assert look("../secret").path is None


def test_the_hub_cache_is_looked_at_without_network(empty_hub_cache: Path) -> None:
    missing = look(HUB)
    assert missing.path is None and "Hugging Face cache" in missing.looked[-1]
    snapshot = cached(empty_hub_cache)
    assert look(HUB).path == snapshot
    assert look(f"{HUB}@other").path is None


@pytest.mark.parametrize("where", ["some-model", "some-org/some-model"])
def test_a_folder_inside_a_repository(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_hub_cache: Path
) -> None:
    ref = f"{HUB}//dit/transformer"
    snapshot = cached(empty_hub_cache)
    assert look(ref).path is None
    (snapshot / "dit" / "transformer").mkdir(parents=True)
    assert look(ref).path == snapshot / "dit" / "transformer"
    own = tmp_path / "own" / where / "dit" / "transformer"
    own.mkdir(parents=True)
    monkeypatch.setenv("HARNESS_CHECKPOINTS", str(tmp_path / "own"))
    assert look(ref).path == own
    assert look(f"{HUB}@a/b//dit").path is None
    marked = own.parents[1].with_name(own.parents[1].name + "@a_b") / "dit"
    marked.mkdir(parents=True)
    assert look(f"{HUB}@a/b//dit").path == marked


@pytest.mark.parametrize("ref", [f"{HUB}//", f"{HUB}//../x", f"{HUB}//a//b", f"{HUB}///a"])
def test_a_bad_folder_inside_a_repository(ref: str) -> None:
    with pytest.raises(HarnessError, match="no checkpoint"):
        resolve(ref)


def test_only_the_folder_asked_for_is_downloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    asked: dict[str, object] = {}

    def download(repo: str, **options: object) -> str:
        if options.get("local_files_only"):
            raise FileNotFoundError
        asked.update(options, repo=repo)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(HarnessError, match="has no folder 'dit'"):
        resolve(f"{HUB}@v2//dit")
    (tmp_path / "dit").mkdir()
    assert resolve(f"{HUB}@v2//dit") == tmp_path / "dit"
    assert (asked["repo"], asked["revision"]) == (HUB, "v2")
    assert asked["allow_patterns"] == "dit/*"


def test_what_cannot_be_downloaded_says_where_it_was_looked_for_and_how_to_get_it() -> None:
    with pytest.raises(HarnessError, match="cannot be downloaded") as caught:
        resolve(f"{HUB}@v2")
    assert "\n" not in caught.value.message
    assert f"hf download {HUB} --revision v2`" in caught.value.hint
    with pytest.raises(HarnessError, match="cannot be downloaded") as caught:
        resolve(f"{HUB}@v2//dit")
    assert f"hf download {HUB} --revision v2 --include 'dit/*'" in caught.value.hint
    assert "Hugging Face cache" in caught.value.hint


def test_a_download_leaves_pickles_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub

    asked: dict[str, object] = {}

    def download(repo: str, **options: object) -> str:
        if options.get("local_files_only"):
            raise FileNotFoundError
        asked.update(options, repo=repo)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve(f"{HUB}@v2") == tmp_path
    assert asked["repo"] == HUB and asked["revision"] == "v2"
    ignored = asked["ignore_patterns"]
    assert isinstance(ignored, list) and {"*.bin", "*.pt", "*.ckpt"} <= set(ignored)


def test_require_names_the_file_and_the_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    require(tmp_path, ["config.json", "model.safetensors"])
    with pytest.raises(HarnessError, match=r"has no vae/config\.json") as caught:
        require(tmp_path, ["config.json", "vae/config.json"])
    assert str(tmp_path) in caught.value.message
    (tmp_path / "model.safetensors.index.json").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(HarnessError, match="pickled"):
        require(tmp_path, ["model.safetensors"])


def test_suites_and_checkpoints_are_read_without_model_libraries() -> None:
    code = (
        "import sys; from harness.models import checkpoints, digests, suites;"
        "s = suites.load_suite('miniature'); suites.overview(s);"
        "suites.sampler_settings(s.generator);"
        "print([m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
