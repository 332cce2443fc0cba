from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.interop.layout import passed_over, read_layout

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
        ('{"prompt": " "}', "lacks the text"),
        ('{"prompt": "\\ud800"}', "lacks the text"),
        ('{"prompt": "a", "tag": 3}', "'tag' is 3"),
        ('{"prompt": "a", "x": NaN}', '"x" is NaN'),
        ('{"prompt": "a", "prompt": "b"}', '"prompt" is there twice'),
        ("", "empty"),
        ('{"prompt": "a", "x": 1e999}', "cannot be read"),
        ("not json", "cannot be read"),
        ('{"prompt": "a"}{"prompt": "b"}', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_bad_metadata_is_named(tmp_path: Path, metadata: str, says: str) -> None:
    folder = prompt_folder(tmp_path, "00003")
    (folder / "metadata.jsonl").write_text(metadata)
    prompt_folder(tmp_path, "00004")
    bad, good = read_layout(tmp_path)
    assert bad.refusal.startswith(f"{folder / 'metadata.jsonl'}, line 1: ")
    assert says in bad.refusal and "\n" not in bad.refusal
    assert (bad.prompt.id, good.refusal, good.prompt.text) == ("00003", "", META["prompt"])


def test_what_has_not_the_layout_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        read_layout(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no prompts") as caught:
        read_layout(tmp_path)
    assert "00000/samples" in caught.value.hint
    (tmp_path / "00000").mkdir()
    [folder] = read_layout(tmp_path)
    assert folder.refusal == f"{tmp_path / '00000'} has no metadata.jsonl"


def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path: Path) -> None:
    folder = prompt_folder(tmp_path, "00000")
    (folder / "metadata.jsonl").write_bytes(b'{"prompt":\n"caf\xe9"}')
    assert "line 2: not UTF-8" in read_layout(tmp_path)[0].refusal
    (folder / "metadata.jsonl").write_text('{"prompt": "café", "tag": null}', encoding="utf-16")
    [read] = read_layout(tmp_path)
    assert (read.prompt.text, read.prompt.tag, read.refusal) == ("café", "", "")


def test_a_png_stands_where_a_jpeg_has_the_same_number(tmp_path: Path) -> None:
    """As officially: every PNG counts, also "0.png" beside "0000.png", and no JPEG beside one."""
    prompt_folder(tmp_path, "00000", "0000.png", "0.png", "0000.jpg", "1.jpg")
    [folder] = read_layout(tmp_path)
    assert [path.name for path in folder.images] == ["0.png", "0000.png", "1.jpg"]
    assert folder.beside == ("0000.jpg",)
    [sentence] = passed_over([folder])
    assert sentence.startswith("1 file passed over beside a PNG of the same number")


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    names = ("0.png", "1.webp", "2.webp", "grid.png", "x_1.png", "3.png.part", "note.txt",
             "0.png.feedback.json", ".DS_Store")  # fmt: skip
    prompt_folder(tmp_path, "00000", *names)
    (tmp_path / "00000" / "samples" / "4.png").mkdir()
    [folder] = read_layout(tmp_path)
    [sentence] = passed_over([folder])
    assert sentence.startswith("6 files passed over, ")
    for piece in (".webp ×2", "grid.png", "x_1.png", ".part", "4.png"):
        assert piece in sentence
