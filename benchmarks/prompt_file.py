"""Prompts from a file of the user's own, scored by questions of the user's own, if it has any."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.base import Scorer
from benchmarks.geneval.metadata import BadMetadata, validated
from benchmarks.vqa.asking import Asked, Question
from benchmarks.vqa.base import OFFICIAL, VLM, QuestionBenchmark
from benchmarks.vqa.own_questions import ONE_WORD, grade, parse_questions, read_questions, spellings
from harness.errors import HarnessError, UsageError, did_you_mean, shortened
from harness.records import Answer, Evidence, Loading, Prompt
from harness.text import expanded, is_encodable, json_lines, parse_json, read_text

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_PLAIN = ".txt"
_FORMATS = (*_DELIMITERS, ".json", ".jsonl", ".ndjson", _PLAIN)

_EXAMPLE = '{"prompt": "a photo of a bench"}'

QUESTIONS = "questions"
"""The column with a prompt's questions."""

_QUESTION = (
    'such as [{"text": "Is there a bench?"}, {"text": "What colour is it?", "expected": "red", '
    '"weight": 2, "parent": 1}]'
)

_Row = tuple[int, Mapping[str, Any]]
"""Line number and content."""


@dataclass(frozen=True)
class PromptFile(QuestionBenchmark):
    """One prompt a line: JSON objects (.jsonl), a table with a header (.csv, .tsv) or text (.txt).

    The column `prompt` is the text; `id` names the prompt (default: its number, from "00000";
    noise seeds hang on it, so prompts that will be reordered should carry one); `tag` groups
    it in reports. Every other column goes to the prompt's metadata; rows in GenEval's form, with
    a list of objects under `include`, must be what GenEval's scorer can read.

    With a column `questions` images are scored (`benchmarks.vqa.own_questions`). Without it a run
    ends with images and judge's verdicts.

    Attributes:
        path: The file.
    """

    name: ClassVar[str] = "prompt-file"
    external: ClassVar[bool] = True
    prompt_options: ClassVar[frozenset[str]] = frozenset({"path"})

    path: str

    @property
    def scored(self) -> bool:  # type: ignore[override]
        """True if its prompts have questions."""
        return any(QUESTIONS in prompt.metadata for prompt in self.prompts())

    @property
    def parts(self) -> Mapping[str, str]:  # type: ignore[override]
        """The model that answers the questions, if there are any."""
        return {VLM: OFFICIAL} if self.scored else {}

    def load_scorer(self, loading: Loading) -> Scorer:
        """Load who answers the questions (see `Benchmark.load_scorer`)."""
        if not self.scored:
            raise NotImplementedError(f"{self.name} has no scorer without a column of questions")
        return super().load_scorer(loading)

    def questions(self, prompt: Prompt, settings: Mapping[str, Any]) -> Sequence[Question]:
        """Return the prompt's own questions.

        Raises:
            HarnessError: It has none, or they are damaged.
        """
        try:
            return read_questions(prompt.metadata.get(QUESTIONS))
        except ValueError as error:
            raise HarnessError(f"prompt '{prompt.id}' cannot be scored: {error}") from None

    def asked(self, question: Question, settings: Mapping[str, Any]) -> Asked:
        """Return a question as it is put."""
        return Asked(ONE_WORD.replace("{question}", question.text), spellings(question.expected))

    def grade(
        self, prompt: Prompt, answers: Sequence[Answer], settings: Mapping[str, Any]
    ) -> tuple[float, bool]:
        """Return the weighted mean of the answers, and whether all that count are right."""
        return grade(answers)

    def by_skill(
        self, prompt: Prompt, evidence: Evidence, settings: Mapping[str, Any]
    ) -> Sequence[tuple[str, float]]:
        """Return each answer's probability under its skill."""
        return [
            (each.skill, each.probability or 0.0)
            for each in evidence
            if isinstance(each, Answer) and each.skill
        ]

    def prompts(self) -> list[Prompt]:
        """All prompts in the order of the file.

        Raises:
            UsageError: The file is missing, unreadable, not text, empty or not in the format
                its name promises; a row has no text; two rows share an id.
        """
        file = expanded(self.path)
        text = _read(file)
        delimiter = _DELIMITERS.get(file.suffix.lower())
        rows: Iterator[_Row]
        if delimiter:
            rows = _table_rows(file, text, delimiter)
        elif file.suffix.lower() == _PLAIN:
            rows = ((line, {"prompt": written}) for line, written in json_lines(text))
        else:
            rows = _json_rows(file, text)
        prompts: list[Prompt] = []
        lines: dict[str, int] = {}
        for line, row in rows:
            prompt = _prompt(file, line, row, default_id=f"{len(prompts):05d}")
            if prompt.id in lines:
                raise UsageError(
                    f"{file}, line {line}: line {lines[prompt.id]} has the same id '{prompt.id}'",
                    "give every prompt an id of its own, or leave the column out",
                )
            lines[prompt.id] = line
            prompts.append(prompt)
        unasked = [prompt for prompt in prompts if QUESTIONS not in prompt.metadata]
        if 0 < len(unasked) < len(prompts):
            raise UsageError(
                f"{file}, line {lines[unasked[0].id]}: no questions, and other prompts have some",
                "give every prompt questions, or none; an empty mean would be no score",
            )
        if not prompts:
            raise UsageError(
                f"{file} holds no prompts", "write one a line, such as " + _example(file)
            )
        return prompts


def _read(file: Path) -> str:
    if not file.name:
        raise UsageError("-B path names no file", "give it one, such as -B path=prompts.jsonl")
    if file.suffix.lower() not in _FORMATS:
        raise UsageError(
            f"{file} is neither JSONL nor CSV by its name, nor a plain list (.txt)",
            f"write one prompt a line, such as {_EXAMPLE}, to a file named like prompts.jsonl",
        )
    if not file.exists():
        folder = file.parent.absolute()
        siblings = [p.name for p in folder.glob("*") if p.suffix.lower() in _FORMATS]
        hint = did_you_mean(file.name, siblings) if siblings else "there is none like it"
        raise UsageError(f"there is no prompt file {file}", f"looked in {folder}; {hint}")
    return read_text(file)


def _example(file: Path) -> str:
    suffix = file.suffix.lower()
    if suffix in _DELIMITERS:
        return "a photo of a bench, under the header 'prompt'"
    return "a photo of a bench" if suffix == _PLAIN else _EXAMPLE


def _json_rows(file: Path, text: str) -> Iterator[_Row]:
    for line, written in json_lines(text):
        try:
            row = parse_json(written)
        except ValueError as error:
            raise UsageError(
                f"{file}, line {line}: not a line of JSON ({error})",
                f"write one object a line: {_EXAMPLE}",
            ) from None
        if not isinstance(row, dict):
            raise UsageError(
                f"{file}, line {line}: JSON, but not an object",
                f"write one object a line: {_EXAMPLE}",
            )
        yield line, row


def _table_rows(file: Path, text: str, delimiter: str) -> Iterator[_Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        header = list(reader.fieldnames or ())
        if header and "prompt" not in header:
            raise UsageError(
                f"{file}, line 1: the header has no column 'prompt'",
                f"its columns are {', '.join(header)}; name the one with the texts 'prompt'",
            )
        for name in header:
            if header.count(name) > 1:
                raise UsageError(
                    f"{file}, line 1: the header names '{name}' twice", "rename one of the columns"
                )
        for row in reader:
            # DictReader collects cells beyond the header under the key None.
            if None in row:
                raise UsageError(
                    f"{file}, line {reader.line_num}: more cells than the header has columns",
                    'put double quotes around a text with commas: "a cat, a dog"',
                )
            yield reader.line_num, {key: cell for key, cell in row.items() if cell is not None}
    except csv.Error as error:
        raise UsageError(
            f"{file}, line {reader.line_num + 1}: not CSV ({error})",
            "put double quotes around a text that holds commas, quotes or line breaks",
        ) from None


def _prompt(file: Path, line: int, row: Mapping[str, Any], default_id: str) -> Prompt:
    text = row.get("prompt")
    if not isinstance(text, str) or not text.strip():
        hint = f"give the row a text, as in {_EXAMPLE}"
        if row and "prompt" not in row:
            hint = f"its keys are {shortened(list(row))}; name the one with the text 'prompt'"
        raise UsageError(f"{file}, line {line}: no text under 'prompt'", hint)
    # A CSV cell left empty means "not given"; so does JSON's null.
    identity, tag = (
        value if (value := row.get(key)) not in (None, "") else default
        for key, default in (("id", default_id), ("tag", ""))
    )
    for key, value in (("id", identity), ("tag", tag)):
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise UsageError(
                f"{file}, line {line}: '{key}' is {json.dumps(value)}",
                "give it as text or as a whole number",
            )
    if not is_encodable(f"{text}{identity}{tag}"):
        raise UsageError(
            f"{file}, line {line}: half of a surrogate pair, which is no character",
            "write the character itself, or both halves of its \\u escape",
        )
    if isinstance(row.get("include"), list | dict):
        try:
            validated(row)
        except BadMetadata as error:
            raise UsageError(f"{file}, line {line}: {error.message}", error.hint) from None
    metadata = {key: value for key, value in row.items() if key not in ("prompt", "id", "tag")}
    if metadata.get(QUESTIONS) in (None, ""):
        metadata.pop(QUESTIONS, None)
    else:
        try:
            metadata[QUESTIONS] = parse_questions(metadata[QUESTIONS])
        except ValueError as error:
            raise UsageError(f"{file}, line {line}: questions: {error}", _QUESTION) from None
    return Prompt(id=str(identity), text=text.strip(), tag=str(tag), metadata=metadata)
