"""Text as programs, spreadsheets and editors write it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.prompt_file import PromptFile
from harness.errors import UsageError
from harness.models.suites import load_suite
from harness.text import json_lines, parse_json, read_text

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")
"""As Python names them: all but the first put a byte order mark in front."""

SUITE = 'name = "café"\n[generator]\nkind = "sana"\ncheckpoints = { pipeline = "./weights" }\n'


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.jsonl", '{"prompt": "a café", "tag": "t"}\n'),
        ("p.csv", "prompt,tag\na café,t\n"),
        ("p.tsv", "prompt\ttag\r\na café\tt\r\n"),
    ],
)
def test_a_prompt_file_in_any_marked_encoding(
    tmp_path: Path, name: str, content: str, encoding: str
) -> None:
    (tmp_path / name).write_bytes(content.encode(encoding))
    [prompt] = PromptFile(path=str(tmp_path / name)).prompts()
    assert (prompt.text, prompt.tag) == ("a café", "t")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_suite_in_any_marked_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "s.toml").write_bytes(SUITE.encode(encoding))
    assert load_suite(tmp_path / "s.toml").name == "café"


def test_files_that_were_joined_have_a_mark_in_the_middle(tmp_path: Path) -> None:
    line = '\ufeff{"prompt": "a cat"}\n'
    (tmp_path / "p.jsonl").write_text(line * 2, encoding="utf-8")
    prompts = PromptFile(path=str(tmp_path / "p.jsonl")).prompts()
    assert [prompt.text for prompt in prompts] == ["a cat", "a cat"]


def test_only_newlines_end_a_line() -> None:
    assert list(json_lines('"a\u2028b"\n\n \n"c"')) == [(1, '"a\u2028b"'), (4, '"c"')]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"one\ntwo \xe9\n", "line 2: not UTF-8 text"),
        (b"\xff\xfeo\x00n\x00e\x00\n\x00\x00\xd8o\x00", "line 2: not UTF-16 text"),
        (b"x" * 101, "larger than 100 bytes"),
    ],
)
def test_what_is_no_text_is_one_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_text(path, limit=100)
    assert says in caught.value.message and str(path) in caught.value.message
    assert caught.value.hint


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(UsageError, match="not a regular file"):
        load_suite(tmp_path / "pipe.toml")
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_suite(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', 'the key "c" is there twice'),
        ('{"a": NaN}', '"a" is NaN'),
        ('{"a": [1, [-Infinity]]}', '"a" is -Infinity'),
        ('{"a": 1e999}', '"a" is 1e999'),
        ("NaN", "NaN, which is not"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 200 + "]" * 200, "nested too deeply"),
        ("", "Expecting value"),
        ("{} {}", "Extra data"),
    ],
)
def test_json_is_read_strictly(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_json(text)


def test_numbers_that_python_alone_writes_can_be_read_as_null() -> None:
    text = '{"a": NaN, "b": [Infinity, {"c": 1e999}], "d": 1.5}'
    assert parse_json(text, nan_is_null=True) == {"a": None, "b": [None, {"c": None}], "d": 1.5}
