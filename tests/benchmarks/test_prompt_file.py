from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.prompt_file import PromptFile
from harness.errors import UsageError
from harness.records import Prompt
from harness.testing.benchmarks import BenchmarkContract

JSONL = '{"prompt": "a cat", "id": "c", "tag": "t", "n": 2}\n\n{"prompt": "a dog"}\n'
CSV = 'id,prompt,tag,style\nc,"a cat, red",t,oil\n,a dog,,\n'


def write(folder: Path, text: str | bytes, name: str = "prompts.jsonl") -> str:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(file)


class TestJsonl(BenchmarkContract):
    @pytest.fixture
    def benchmark_plugin(self, tmp_path: Path) -> PromptFile:
        return PromptFile(path=write(tmp_path, JSONL))


class TestCsv(BenchmarkContract):
    @pytest.fixture
    def benchmark_plugin(self, tmp_path: Path) -> PromptFile:
        return PromptFile(path=write(tmp_path, CSV, "prompts.csv"))


def test_jsonl_columns(tmp_path: Path) -> None:
    assert PromptFile(path=write(tmp_path, JSONL)).prompts() == [
        Prompt("c", "a cat", "t", {"n": 2}),
        Prompt("00001", "a dog"),
    ]


def test_csv_columns_and_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf" + CSV.encode(), "PROMPTS.CSV")
    assert PromptFile(path=path).prompts() == [
        Prompt("c", "a cat, red", "t", {"style": "oil"}),
        Prompt("00001", "a dog", "", {"style": ""}),
    ]


def test_line_separators_inside_a_string_do_not_break_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, '{"prompt": "a\u2028b"}\r\n{"prompt": "c"}')
    assert [prompt.text for prompt in PromptFile(path=path).prompts()] == ["a\u2028b", "c"]


@pytest.mark.parametrize(
    ("name", "content", "output"),
    [
        ("p.jsonl", "", "holds no prompts"),
        ("p.csv", "", "holds no prompts"),
        ("p.csv", "prompt\n", "holds no prompts"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": " "}', "line 2: no text"),
        ("p.jsonl", '{"prompts": "a"}', "line 1: no text"),
        ("p.jsonl", '{"prompt": 3}', "line 1: no text"),
        ("p.csv", "prompt,id\na,1\n,2\n", "line 3: no text"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": ', "line 2: not a line of JSON"),
        ("p.jsonl", '{"prompt": "a", "x": NaN}', "line 1: not a line of JSON"),
        ("p.jsonl", "[" * 100_000, "line 1: not a line of JSON"),
        ("p.jsonl", '"a photo"', "line 1: JSON, but not an object"),
        ("p.jsonl", '{"prompt": "a", "id": 1}\n{"prompt": "b", "id": "1"}', "line 2: line 1 has"),
        ("p.jsonl", '{"prompt": "a", "tag": ["t"]}', "line 1: 'tag'"),
        ("p.jsonl", '{"prompt": "\\ud800"}', "line 1: half of a surrogate pair"),
        ("p.jsonl", b'{"prompt": "a"}\n{"prompt": "caf\xe9"}', "line 2: not UTF-8"),
        ("p.csv", "text\na\n", "no column 'prompt'"),
        ("p.csv", "prompt,prompt\na,b\n", "names 'prompt' twice"),
        ("p.csv", "prompt\na cat, a dog\n", "line 2: more cells"),
        ("p.csv", 'prompt\n"a"b\n', "line 2: not CSV"),
        ("p.md", "a photo", "neither JSONL nor CSV"),
        ("p", "a photo", "neither JSONL nor CSV"),
        ("p.txt", "\n \n", "holds no prompts"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    tmp_path: Path, name: str, content: str | bytes, output: str
) -> None:
    with pytest.raises(UsageError) as caught:
        PromptFile(path=write(tmp_path, content, name)).prompts()
    assert output in caught.value.message and name in caught.value.message
    assert caught.value.hint and "\n" not in caught.value.message


def test_a_plain_list_is_one_prompt_a_line(tmp_path: Path) -> None:
    path = write(tmp_path, b'\xef\xbb\xbfa cat, red\r\n\n{"prompt": "a"}\n', "list.TXT")
    assert PromptFile(path=path).prompts() == [
        Prompt("00000", "a cat, red"),
        Prompt("00001", '{"prompt": "a"}'),
    ]


@pytest.mark.parametrize("key", ["caption", "prompts"])
def test_the_key_that_holds_the_text_is_asked_for(tmp_path: Path, key: str) -> None:
    with pytest.raises(UsageError) as caught:
        PromptFile(path=write(tmp_path, json.dumps({key: "a cat", "n": 1}))).prompts()
    assert caught.value.hint == f"its keys are {key}, n; name the one with the text 'prompt'"


def test_what_the_hint_of_an_unknown_format_says_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        PromptFile(path=write(tmp_path, "a photo", "list.md")).prompts()
    example = caught.value.hint[caught.value.hint.index("{") : caught.value.hint.index("}") + 1]
    assert len(PromptFile(path=write(tmp_path, example)).prompts()) == 1


def test_a_missing_file_is_named_with_its_likely_sibling(tmp_path: Path) -> None:
    write(tmp_path, JSONL, "prompts.jsonl")
    with pytest.raises(UsageError, match="no prompt file") as caught:
        PromptFile(path=str(tmp_path / "promts.jsonl")).prompts()
    assert "did you mean 'prompts.jsonl'" in caught.value.hint


def test_a_folder_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        PromptFile(path=str(tmp_path / "folder.csv")).prompts()


texts = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: text.strip())


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(texts, min_size=1, max_size=5), st.booleans())
def test_any_text_survives_the_file(tmp_path: Path, written: list[str], ascii: bool) -> None:
    lines = "\n".join(json.dumps({"prompt": text}, ensure_ascii=ascii) for text in written)
    prompts = PromptFile(path=write(tmp_path, lines)).prompts()
    assert [prompt.text for prompt in prompts] == [text.strip() for text in written]
