"""Rows of metadata as people and programs write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.geneval.metadata import BadMetadata, requirements, validated, warnings
from benchmarks.geneval.prompts import metadata_rows
from benchmarks.prompt_file import PromptFile
from harness.errors import UsageError

BENCH = {"class": "bench", "count": 1}
COW = {"class": "cow", "count": 1, "position": ["left of", 0]}


def row(**changes: Any) -> dict[str, Any]:
    good = {"tag": "position", "include": [BENCH, COW], "prompt": "a cow left of a bench"}
    return {**good, **changes}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in row().items() if name != key}


def test_the_published_rows_are_good_and_stay_as_they_are() -> None:
    for published in metadata_rows():
        assert json.dumps(validated(published)) == json.dumps(published)
    assert warnings(metadata_rows()) == []


def test_null_means_absent() -> None:
    padded = row(
        include=[{**BENCH, "color": None, "position": None}, {**COW, "color": None}],
        exclude=None,
        note=None,
    )
    assert validated(padded) == row()
    assert requirements(padded) == {"include": [BENCH, COW]}


@pytest.mark.parametrize(
    ("bad", "key"),
    [
        ([], "got []"),
        (without("tag"), "'tag' is missing"),
        (row(tag=None), "'tag' is missing"),
        (row(tag=3), "'tag' is 3"),
        (without("prompt"), "'prompt' is missing"),
        (row(prompt=" "), "'prompt' is \" \""),
        (row(prompt="\ud800"), "'prompt' has half of a surrogate pair"),
        (without("include"), "'include' is missing"),
        (row(include=None), "'include' is missing"),
        (row(include=[]), "'include' is empty"),
        (row(include={"class": "bench"}), "'include' is {"),
        (row(include=["bench"]), "'include[0]' is \"bench\""),
        (row(include=[{"count": 1}]), "'include[0].class' is missing"),
        (row(include=[{**BENCH, "class": 3}]), "'include[0].class' is 3"),
        *(
            (row(include=[{"class": "bench", "count": count}]), f"'include[0].count' {output}")
            for count, output in (
                (None, "is missing"),
                (0, "is 0"),
                (-1, "is -1"),
                (1.0, "is 1.0"),
                (True, "is true"),
                ("1", 'is "1"'),
            )
        ),
        (row(include=[{**BENCH, "colour": "red"}]), "'include[0].colour' is no key"),
        (row(include=[{**BENCH, "Count": 2}]), "'include[0].Count' is no key"),
        (row(include=[{**BENCH, "color": 3}]), "'include[0].color' is 3"),
        *(
            (row(include=[BENCH, {**COW, "position": place}]), f"'include[1].position{output}")
            for place, output in (
                ("left of", "' is"),
                (["left of"], "' is"),
                ([0, "left of"], "[0]' is 0"),
                (["left of", "0"], '[1]\' is "0"'),
                (["left of", 0.0], "[1]' is 0.0"),
                (["left of", False], "[1]' is false"),
                (["left of", 1], "[1]' is 1, which names itself"),
                (["left of", 2], "[1]' is 2, which names no earlier"),
                (["left of", -1], "[1]' is -1, which names no earlier"),
            )
        ),
        (row(include=[{**COW, "position": ["left of", 1]}, BENCH]), "'include[0].position[1]'"),
        (row(exclude=3), "'exclude' is 3"),
        (row(exclude=[{**BENCH, "color": "red"}]), "'exclude[0].color' is no key"),
        (row(exclude=[{**BENCH, "count": 0}]), "'exclude[0].count' is 0"),
        (row(Include=[BENCH]), "'Include' is no key"),
        (row(exlude=[BENCH]), "'exlude' is no key"),
    ],
)
def test_a_bad_row_is_refused_by_its_key(bad: Any, key: str, tmp_path: Path) -> None:
    with pytest.raises(BadMetadata) as caught:
        validated(bad)
    assert key in caught.value.message and "\n" not in caught.value.message
    if not isinstance(bad, dict) or not isinstance(bad.get("include"), list | dict):
        return
    file = tmp_path / "p.jsonl"
    file.write_text(f"{json.dumps(row())}\n{json.dumps(bad)}\n")
    with pytest.raises(UsageError) as refused:
        PromptFile(path=str(file)).prompts()
    assert f"{file}, line 2: " in refused.value.message


def test_a_prompt_file_keeps_other_rows_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    other = {"prompt": "a cat", "include": "cats only", "style": None}
    padded = row(exclude=None)
    file.write_text(f"{json.dumps(other)}\n{json.dumps(padded)}\n")
    metadata = [dict(prompt.metadata) for prompt in PromptFile(path=str(file)).prompts()]
    assert metadata[0] == {"include": "cats only", "style": None}
    assert metadata[1] == {"include": [BENCH, COW], "exclude": None}


def test_a_misspelt_key_is_answered_with_the_right_one() -> None:
    for bad, right in (
        (row(includes=[BENCH]), "include"),
        (row(include=[{**BENCH, "colour": "red"}]), "color"),
        (row(include=[BENCH, {**COW, "positions": ["above", 0]}]), "position"),
    ):
        with pytest.raises(BadMetadata) as caught:
            validated(bad)
        assert caught.value.hint == f"did you mean '{right}'?"


def test_words_that_nobody_knows_are_warned_of_once_with_their_number() -> None:
    rows = [
        row(include=[{**BENCH, "class": "remote"}]),
        row(include=[{**BENCH, "class": "remote"}, {**BENCH, "class": "sofa"}]),
        row(include=[{**BENCH, "color": "grey"}]),
        row(include=[BENCH, {**COW, "position": ["on the right of", 0]}]),
        row(include=[{**BENCH, "count": 17}]),
        row(exclude=[{"class": "Bench", "count": 2}]),
        row(tag="Counting", prompt_id=3),
        row(),
    ]
    output = warnings(map(validated, rows))
    assert [sentence.partition(" with")[0].partition(" excl")[0] for sentence in output] == [
        "2 prompts", *["1 prompt"] * 6
    ]  # fmt: skip
    assert "'remote' ×2 (did you mean 'tv remote'?), 'sofa'" in output[0]
    for sentence, piece in zip(
        output[1:],
        ("'grey'", "(did you mean 'right of'?)", "'17'", "(did you mean 'bench'?)",
         "(did you mean 'counting'?)", "'prompt_id'"),
        strict=True,
    ):  # fmt: skip
        assert piece in sentence


def test_words_that_cannot_be_written_are_spelled_otherwise() -> None:
    with pytest.raises(BadMetadata) as caught:
        validated(row(include=[{**BENCH, "\ud800": 1}]))
    assert "\\ud800" in caught.value.message and caught.value.message.encode()
    [key] = warnings([validated(row(**{"\ud800": 1}))])
    [relation] = warnings([validated(row(include=[BENCH, {**COW, "position": ["\ud800", 0]}]))])
    assert key.encode() and relation.encode()


def test_a_warning_is_one_sentence_however_many_words_there_are() -> None:
    [output] = warnings(row(include=[{**BENCH, "class": f"thing {n}"}]) for n in range(1000))
    assert output.startswith("1000 prompts ") and "and 995 more" in output and len(output) < 400
