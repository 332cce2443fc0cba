"""The prompts that a run keeps: what its digest is of, and what a stranger's file may hold."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.log import prompts as kept
from harness.log.manifest import Manifest, PromptSet
from harness.log.prompts import check_prompts, prompts_path, stored_prompts, write_prompts
from harness.log.run_folder import RunFolder
from harness.records import Prompt
from harness.seeds import config_digest
from tests.runs import bare_config

PROMPTS = [
    Prompt("00000", "a photo of a bench", "one", {"include": [{"class": "bench", "count": 1}]}),
    Prompt("x", "ein schöner\u2028Hund", "", {}),
]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    write_prompts(RunFolder(tmp_path), PROMPTS)
    return RunFolder(tmp_path)


def manifest(prompts: list[Prompt] = PROMPTS) -> Manifest:
    config = bare_config()
    return Manifest("r", config, config_digest(config), PromptSet.of(prompts), "cmd", {})


def test_the_manifests_digest_is_the_files(folder: RunFolder) -> None:
    data = Path(str(prompts_path(folder))).read_bytes()
    assert hashlib.sha256(data).hexdigest() == manifest().prompt_set.digest
    assert json.loads(data.decode().split("\n")[0]) == [
        "00000", "a photo of a bench", "one", {"include": [{"class": "bench", "count": 1}]}
    ]  # fmt: skip
    assert stored_prompts(folder, manifest()) == PROMPTS


def test_a_run_that_keeps_none_says_so(tmp_path: Path) -> None:
    assert stored_prompts(RunFolder(tmp_path), manifest()) is None
    check_prompts(RunFolder(tmp_path), manifest())


def test_what_older_programs_wrote_for_images_from_elsewhere_is_read(folder: RunFolder) -> None:
    rows = [
        {"id": p.id, "text": p.text, "tag": p.tag, "metadata": dict(p.metadata)} for p in PROMPTS
    ]
    Path(str(prompts_path(folder))).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert stored_prompts(folder, manifest()) == PROMPTS
    check_prompts(folder, manifest())


def lines(*rows: object) -> Callable[[Path], object]:
    return lambda path: path.write_text("".join(json.dumps(row) + "\n" for row in rows))


FIRST = ["00000", "a photo of a bench", "one", {}]

DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-30]), "damaged"),
    "empty": (lambda path: path.write_bytes(b""), "the manifest names"),
    "a flipped bit": (lambda path: path.write_bytes(path.read_bytes().replace(b"bench", b"cench")),
                      "the manifest names"),
    "not text": (lambda path: path.write_bytes(b"\xff\xfe\xfa\n"), "damaged"),
    "not JSON": (lambda path: path.write_text("{]\n"), "damaged"),
    "deep": (lambda path: path.write_text("[" * 100_000 + "]" * 100_000), "deep"),
    "a number": (lines(3), "not a list"),
    "too few fields": (lines(["0", "a", "t"]), "not a list"),
    "an object of other keys": (lines({"id": "0", "prompt": "a"}), "not a list"),
    "an id that is a number": (lines([1, "a", "t", {}]), "prompt's id is 1"),
    "no id": (lines(["", "a", "t", {}]), "prompt's id"),
    "a text that is none": (lines(["0", None, "t", {}]), "prompt's text is null"),
    "half a character": (lines(["0", "\ud800", "t", {}]), "damaged"),
    "metadata that is a list": (lines(["0", "a", "t", []]), "prompt's metadata"),
    "a prompt more": (lines(FIRST, FIRST, FIRST), "the manifest names"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_not_the_runs_is_refused_by_name(name: str, folder: RunFolder) -> None:
    damage, says = DAMAGE[name]
    damage(Path(str(prompts_path(folder))))
    for read in (stored_prompts, check_prompts):
        with pytest.raises(HarnessError, match=says) as caught:
            read(folder, manifest())
        assert "prompts.jsonl is damaged" in caught.value.message
        assert "repair" in caught.value.hint and len(caught.value.message) < 600


def test_a_manifest_that_agrees_makes_no_prompts_of_it(folder: RunFolder) -> None:
    twice = [PROMPTS[0], replace(PROMPTS[1], id=PROMPTS[0].id)]
    write_prompts(folder, twice)
    with pytest.raises(HarnessError, match="two of its prompts have the same id"):
        stored_prompts(folder, manifest(twice))


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_a_regular_file_is_read(kind: str, folder: RunFolder, tmp_path: Path) -> None:
    path = Path(str(prompts_path(folder)))
    path.rename(tmp_path / "elsewhere")
    {
        "link": lambda: path.symlink_to(tmp_path / "elsewhere"),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
    }[kind]()
    with pytest.raises(HarnessError, match="damaged"):
        stored_prompts(folder, manifest())


def test_size_is_bounded_both_ways(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LARGEST", 50)
    with pytest.raises(HarnessError, match="at most 50"):
        stored_prompts(folder, manifest())
    with pytest.raises(HarnessError, match="the 2 prompts take"):
        write_prompts(folder, PROMPTS)
