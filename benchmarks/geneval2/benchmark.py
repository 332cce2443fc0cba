"""GenEval 2 as a benchmark: its prompts, from its own file, and the scorer that asks about them.

The data are licensed CC BY-NC 4.0 and never part of this project: they are read from a file of the
user's, or fetched from the official repository when asked for, and must be the published ones to
the byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.base import Scored
from benchmarks.fetching import Published, read_published
from benchmarks.geneval2.scoring import YES, geometric_mean, spellings
from benchmarks.vqa.asking import Asked, Question
from benchmarks.vqa.base import OFFICIAL, VLM, Options, QuestionBenchmark
from harness.errors import HarnessError, UsageError
from harness.records import Answer, Evidence, Prompt
from harness.text import json_lines, parse_json

DATA = Published(
    name="geneval2_data.jsonl",
    url="https://raw.githubusercontent.com/facebookresearch/GenEval2/"
    "a6e82d2289e8d418f27f0adee77908b07060eea3/geneval2_data.jsonl",
    sha256="09233adbc9f877fba205f1a20efa4a8640e7e62a91dfd55893562bed8a928e43",
)

VQASCORE = "vqascore"
"""In place of a skill: the question whether an image shows its prompt, which no atom is."""

ONE_WORD = "{question} Answer in one word."
SHOWS = 'Does this image show "{prompt}"? Answer the question with Yes or No.'


@dataclass(frozen=True, slots=True)
class GenEval2Options(Options):
    """Options of the grading.

    Attributes:
        mended: Count every first token of an answer's spellings once, and none that is but a space.
            Not the official score, which adds them again and may exceed 1.
        vqascore: Ask whether the image shows its prompt, too. No part of the grade.
    """

    name: ClassVar[str] = "geneval2 scorer"

    mended: bool = False
    vqascore: bool = True


@dataclass(frozen=True)
class AtomBenchmark(QuestionBenchmark):
    """Prompts in GenEval 2's format, graded by Soft-TIFA GM of their atoms."""

    Settings: ClassVar[type[Options]] = GenEval2Options
    drops_alpha: ClassVar[bool] = True

    def questions(self, prompt: Prompt, settings: Mapping[str, Any]) -> Sequence[Question]:
        """Return a question for each atom, and perhaps that of VQAScore, which counts nothing.

        Raises:
            HarnessError: The prompt is not in GenEval 2's format.
        """
        try:
            row = validated(prompt.metadata)
        except ValueError as error:
            raise HarnessError(
                f"prompt '{prompt.id}' cannot be scored: {error}",
                "this scorer grades prompts in GenEval 2's format only",
            ) from None
        atoms = [
            Question(text, expected, skill)
            for (text, expected), skill in zip(row["vqa_list"], row["skills"], strict=True)
        ]
        if settings["vqascore"]:
            shows = SHOWS.replace("{prompt}", row["prompt"])
            atoms.append(Question(shows, "Yes", VQASCORE, weight=0.0))
        return atoms

    def asked(self, question: Question, settings: Mapping[str, Any]) -> Asked:
        """Return a question as the official script puts it."""
        if question.skill == VQASCORE:
            return Asked(question.text, YES, settings["mended"])
        message = ONE_WORD.replace("{question}", question.text)
        return Asked(message, spellings(question.text, question.expected), settings["mended"])

    def grade(
        self, prompt: Prompt, answers: Sequence[Answer], settings: Mapping[str, Any]
    ) -> tuple[float, bool]:
        """Return Soft-TIFA GM, and whether every atom is above one half."""
        atoms = [answer for answer in answers if answer.skill != VQASCORE]
        return geometric_mean(scores_of(atoms)), all(map(self.is_right, atoms))

    def by_skill(
        self, prompt: Prompt, evidence: Evidence, settings: Mapping[str, Any]
    ) -> Sequence[tuple[str, float]]:
        """Return each atom's score under its skill (Soft-TIFA AM), and VQAScore's under its own."""
        answers = [each for each in evidence if isinstance(each, Answer)]
        return [
            (answer.skill, score) for answer, score in zip(answers, scores_of(answers), strict=True)
        ]

    def result_files(
        self, scored: Sequence[Scored], settings: Mapping[str, Any]
    ) -> Mapping[str, str]:
        """Return `score_lists.json` for each prompt's first image, and more for further ones.

        The official analysis matches lists to prompts by position. A prompt without a score has
        null in its place, at which that analysis stops; a list that is shorter would be misread.
        """
        places = {prompt.id: place for place, prompt in enumerate(self.prompts())}
        files: dict[int, list[list[float] | None]] = {}
        for each in scored:
            lists = files.setdefault(each.replicate, [None] * len(places))
            if each.score is not None:
                atoms = [one for one in each.score.answers if one.skill != VQASCORE]
                lists[places[each.prompt.id]] = scores_of(atoms)
        return {
            f"score_lists{f'-{number}' if number else ''}.json": json.dumps(lists) + "\n"
            for number, lists in sorted(files.items())
        }


@dataclass(frozen=True)
class GenEval2(AtomBenchmark):
    """The 800 published prompts, of atomicity 3 to 10.

    Source: Kamath et al., "GenEval 2: Addressing Benchmark Drift in Text-to-Image Evaluation",
    arXiv 2512.16853. Tags are atomicities; the official score is the mean over prompts (micro).

    Attributes:
        path: The published file.
        fetch: Get it from the official repository, if it is not here yet.
    """

    name: ClassVar[str] = "geneval2"
    parts: ClassVar[Mapping[str, str]] = {VLM: OFFICIAL}
    prompt_options: ClassVar[frozenset[str]] = frozenset({"path", "fetch"})
    notice: ClassVar[str] = (
        "GenEval 2's data are licensed CC BY-NC 4.0 (github.com/facebookresearch/GenEval2): "
        "no commercial use, and name the authors"
    )

    path: str = ""
    fetch: bool = False

    def prompts(self) -> list[Prompt]:
        """All prompts in official order; an id is the position in it.

        Raises:
            UsageError: There is no file, or it is not the published one.
        """
        return read_prompts(read_published(DATA, self.path, fetch=self.fetch), DATA.name)


def read_prompts(text: str, source: str) -> list[Prompt]:
    """Read prompts in GenEval 2's format, JSON lines, of a source that messages name.

    Raises:
        UsageError: A line is no row of such a file.
    """
    prompts: list[Prompt] = []
    for line, written in json_lines(text):
        try:
            row = validated(parse_json(written))
        except ValueError as error:
            raise UsageError(f"{source}, line {line}: {error}") from None
        tag = f"atomicity-{row['atom_count']:02d}"
        prompts.append(Prompt(f"{len(prompts):05d}", row["prompt"], tag, row))
    return prompts


def validated(row: Any) -> Mapping[str, Any]:
    """Return a row of GenEval 2's file, if it is one.

    Raises:
        ValueError: It lacks something, or holds what it cannot.
    """
    if not isinstance(row, Mapping):
        raise ValueError("no JSON object")
    text, count = row.get("prompt"), row.get("atom_count")
    if not isinstance(text, str) or not text.strip():
        raise ValueError("no text under 'prompt'")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"'atom_count' is {count!r}, expected a whole number from 1")
    atoms, skills = row.get("vqa_list"), row.get("skills")
    if not isinstance(atoms, list | tuple) or not atoms or not all(map(_is_pair, atoms)):
        raise ValueError("'vqa_list' is no list of questions with answers")
    if not isinstance(skills, list | tuple) or not all(map(_is_skill, skills)):
        raise ValueError("'skills' is no list of skills")
    if len(atoms) != len(skills):
        raise ValueError(f"{len(atoms)} questions in 'vqa_list' and {len(skills)} 'skills'")
    return row


def scores_of(answers: Sequence[Answer]) -> list[float]:
    """Return the probabilities that were logged with answers.

    Raises:
        HarnessError: One was logged without.
    """
    scores = [answer.probability for answer in answers]
    if None in scores:
        raise HarnessError("an answer is logged without its probability")
    return [score for score in scores if score is not None]


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(each, str) and each.strip() for each in value)
    )


def _is_skill(value: Any) -> bool:
    return isinstance(value, str) and value != VQASCORE
