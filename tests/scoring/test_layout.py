from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.scoring.layout import read_layout

META = {"tag": "colors", "include": [{"class": "cat", "count": 1}], "prompt": "a photo of a cat"}


def prompt_folder(root: Path, name: str, *images: str, metadata: object = META) -> Path:
    folder = root / name
    (folder / "samples").mkdir(parents=True)
    (folder / "metadata.jsonl").write_text(json.dumps(metadata))
    for image in images:
        (folder / "samples" / image).touch()
    return folder


def test_numbers_decide_what_belongs_and_in_which_order(tmp_path: Path) -> None:
    prompt_folder(tmp_path, "00010", "0010.png", "0002.jpg", "3.JPEG")
    prompt_folder(tmp_path, "00002", "0000.png", "grid.png", "0001.txt", "0002.png.feedback.json")
    prompt_folder(tmp_path, "notes", "0000.png")
    (tmp_path / "results.jsonl").touch()
    first, second = read_layout(tmp_path)
    assert (first.prompt.id, second.prompt.id) == ("00002", "00010")
    assert [path.name for path in first.images] == ["0000.png"]
    assert [path.name for path in second.images] == ["0002.jpg", "3.JPEG", "0010.png"]
    assert (first.prompt.text, first.prompt.tag) == (META["prompt"], "colors")
    assert first.prompt.metadata == META


def test_a_prompt_may_have_no_images(tmp_path: Path) -> None:
    (tmp_path / "00000").mkdir()
    (tmp_path / "00000" / "metadata.jsonl").write_text(json.dumps(META) + "\n")
    assert read_layout(tmp_path)[0].images == ()


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ("[]", "lacks the text"),
        ("{}", "lacks the text"),
        ('{"prompt": 3}', "lacks the text"),
        ('{"prompt": "a", "tag": 3}', "lacks the text"),
        ('{"prompt": "a", "x": NaN}', "NaN"),
        ('{"prompt": "a", "x": 1e999}', "cannot be read"),
        ("not json", "cannot be read"),
        ('{"prompt": "a"}{"prompt": "b"}', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_bad_metadata_is_named(tmp_path: Path, metadata: str, says: str) -> None:
    folder = prompt_folder(tmp_path, "00003")
    (folder / "metadata.jsonl").write_text(metadata)
    with pytest.raises(UsageError, match=says) as caught:
        read_layout(tmp_path)
    assert "00003" in caught.value.message


def test_what_has_not_the_layout_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        read_layout(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no prompts") as caught:
        read_layout(tmp_path)
    assert "00000/samples" in caught.value.hint
    (tmp_path / "00000").mkdir()
    with pytest.raises(UsageError, match=r"no metadata\.jsonl"):
        read_layout(tmp_path)


def test_two_images_of_one_number(tmp_path: Path) -> None:
    prompt_folder(tmp_path, "00000", "0000.png", "0000.jpg")
    with pytest.raises(UsageError, match="same number"):
        read_layout(tmp_path)
