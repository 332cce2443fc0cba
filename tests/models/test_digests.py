from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.models import digests
from harness.models.digests import cache_file, folder_digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    (root / "vae").mkdir(parents=True)
    (root / "config.json").write_text("{}")
    (root / "vae" / "weights.safetensors").write_bytes(b"abc" * 100)
    return root


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read, with every file large enough to be remembered."""
    names: list[str] = []
    original = digests._file_digest

    def spy(path: Path) -> str:
        names.append(path.name)
        return original(path)

    monkeypatch.setattr(digests, "_file_digest", spy)
    monkeypatch.setattr(digests, "REMEMBER_FROM", 100)
    return names


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which files that are written now are old."""
    monkeypatch.setattr(digests.time, "time", lambda: time.monotonic() + 4e9)


def age(folder: Path, nanoseconds: int = 1_600_000_000_000_000_000) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, ns=(nanoseconds, nanoseconds))


def test_a_copy_has_the_same_digest(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "copy")
    assert folder_digest(folder) == folder_digest(copy)
    assert len(folder_digest(folder)) == 64


@pytest.mark.parametrize(
    "name", ["README.md", "LICENSE.txt", "sample.png", ".cache/x.json", "vae/.git.json", "w.bin"]
)
def test_what_does_not_determine_the_model_does_not_count(folder: Path, name: str) -> None:
    before = folder_digest(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("other")
    assert folder_digest(folder) == before


@pytest.mark.parametrize(
    "name", ["config.json", "vae/weights.safetensors", "merges.txt", "spiece.model"]
)
def test_contents_count(folder: Path, name: str) -> None:
    before = folder_digest(folder)
    (folder / name).write_text("changed")
    assert folder_digest(folder) != before


def test_names_count(folder: Path) -> None:
    before = folder_digest(folder)
    (folder / "config.json").rename(folder / "other.json")
    assert folder_digest(folder) != before


def test_nothing_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="does not exist"):
        folder_digest(tmp_path / "nothing")
    with pytest.raises(HarnessError, match="holds no checkpoint"):
        folder_digest(tmp_path)


@pytest.mark.usefixtures("later")
def test_large_files_are_read_once(folder: Path, hashed: list[str]) -> None:
    age(folder)
    first = folder_digest(folder)
    hashed.clear()
    assert folder_digest(folder) == first
    assert hashed == ["config.json"]
    (folder / "vae" / "weights.safetensors").write_bytes(b"xyz" * 100)
    age(folder, 1_600_000_001_000_000_000)
    assert folder_digest(folder) != first


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("replaced", [False, True], ids=["written anew", "put in its place"])
def test_a_file_of_the_same_size_and_time_is_read_again(
    folder: Path, hashed: list[str], replaced: bool
) -> None:
    """Size and modification time are anybody's to choose; inode and change time are not."""
    weights = folder / "vae" / "weights.safetensors"
    age(folder)
    first = folder_digest(folder)
    if replaced:
        (folder / "other").write_bytes(b"xyz" * 100)
        os.replace(folder / "other", weights)
    else:
        weights.write_bytes(b"xyz" * 100)
    age(folder)
    assert folder_digest(folder) != first


def test_a_file_just_written_is_not_remembered(folder: Path, hashed: list[str]) -> None:
    age(folder)  # however old it says it is
    folder_digest(folder)
    folder_digest(folder)
    assert hashed.count("weights.safetensors") == 2


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("damage", ["", "{", "[]", '{"a": 3}', "\x00\xff"])
def test_a_broken_cache_is_ignored_and_rewritten(
    folder: Path, hashed: list[str], damage: str
) -> None:
    age(folder)
    first = folder_digest(folder)
    cache_file().write_text(damage, encoding="latin-1")
    assert folder_digest(folder) == first
    assert len(json.loads(cache_file().read_text())) == 1
    assert [path.name for path in cache_file().parent.iterdir()] == ["digests.json"]


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    folder: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    age(folder)
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    assert folder_digest(folder) == folder_digest(folder)
