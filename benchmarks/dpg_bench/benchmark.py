"""DPG-Bench as a benchmark: its prompts and questions, from its own file, and who answers them.

Who answers here is another model than the official mPLUG, so that scores are comparable with each
other and never with published ones.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, ValidationError

from benchmarks.base import Scored, VariantScore
from benchmarks.dpg_bench.grids import GRID, split
from benchmarks.dpg_bench.questions import (
    NO_PARENT,
    Item,
    Proposition,
    QuestionFile,
    parse_questions,
)
from benchmarks.dpg_bench.scoring import YES, Unscorable, compare, crop_score, is_yes, totals
from benchmarks.fetching import Published, read_published
from benchmarks.vqa.asking import Asked, Question
from benchmarks.vqa.base import OFFICIAL, VLM, QuestionBenchmark
from harness.errors import HarnessError, UsageError
from harness.records import Answer, Evidence, Image, Prompt, Score
from harness.text import expanded, read_text

DATA = Published(
    name="dpg_bench.csv",
    url="https://raw.githubusercontent.com/TencentQQGYLab/ELLA/"
    "3c228f1dc6c4d3cad0a47493816151a419f14db3/dpg_bench/dpg_bench.csv",
    blob="98457fc9901943f51ff9a30367250fc292533bed",
)

_PROPOSITIONS = TypeAdapter(list[Proposition])
"""Between a prompt's metadata and what it asks."""

_SPELLINGS = ("yes", "Yes", " yes", " Yes")


@dataclass(frozen=True)
class GraphBenchmark(QuestionBenchmark):
    """Prompts with a graph of questions each, in DPG-Bench's format and graded as there.

    Attributes:
        variant: "official" with the official program's faults: the first row of questions is lost,
            and categories are of a grid's last image only. "patched" without these two.
        images_per_file: Images of a file: 1, or a grid of 4.
        resolution: Sides of each image, as the official program is told them; 0 leaves an image as
            it is, and takes a grid for two by two equal squares.
    """

    file_options: ClassVar[frozenset[str]] = frozenset({"images_per_file", "resolution"})

    variant: Literal["official", "patched"] = "patched"
    images_per_file: int = 1
    resolution: Annotated[int, Field(ge=0, le=16384)] = 0

    def __post_init__(self) -> None:
        if self.images_per_file not in (1, GRID):
            raise UsageError(
                f"-B images_per_file={self.images_per_file}, expected 1 or {GRID}",
                "a file is one image, or a grid of two by two",
            )

    @abstractmethod
    def read(self) -> QuestionFile:
        """Read the questions, as the variant does.

        Raises:
            UsageError: There are none, or not in DPG-Bench's format.
        """

    def prompts(self) -> list[Prompt]:
        """All prompts that have questions, in the order of the file.

        Raises:
            UsageError: As `read`.
        """
        read = self.read()
        return [
            Prompt(
                item.id,
                item.text.strip(),
                metadata={
                    "questions": _PROPOSITIONS.dump_python([*item.propositions], mode="json")
                },
            )
            for item in read.items.values()
        ]

    def questions(self, prompt: Prompt, settings: Mapping[str, Any]) -> Sequence[Question]:
        """Return the item's questions in the order of the file."""
        known = propositions(prompt)
        places = {each.number: place for place, each in enumerate(known)}
        parents = [
            tuple(places.get(n, -1 - abs(n)) for n in each.parents if n != NO_PARENT)
            for each in known
        ]
        return [
            Question(each.question, YES, each.category, parents=own)
            for each, own in zip(known, parents, strict=True)
        ]

    def asked(self, question: Question, settings: Mapping[str, Any]) -> Asked:
        """Return a question as it is put to a model that was not trained on one-word answers."""
        return Asked(f"{question.text} Answer with yes or no.", _SPELLINGS)

    def word(self, token: str) -> str:
        """Return an answer in lower case without blanks: only "yes" to the letter counts."""
        return token.strip().lower()

    def is_right(self, answer: Answer) -> bool:
        """Return whether the answer is yes."""
        return is_yes(answer.answer)

    def images(self, image: Image) -> Sequence[Image]:
        """Return the images of a file."""
        return split(image, self.images_per_file, self.resolution or None)

    def grade(
        self, prompt: Prompt, answers: Sequence[Answer], settings: Mapping[str, Any]
    ) -> tuple[float, bool]:
        """Return the mean over the file's images, and whether every answer is yes.

        Raises:
            HarnessError: A question depends on one that is not there; officially the item is then
                left out of every mean.
        """
        known = propositions(prompt)
        try:
            scores = [crop_score(known, image) for image in _by_image(known, answers)]
        except Unscorable as error:
            raise HarnessError(f"item '{prompt.id}' has no score: {error}") from None
        return sum(scores) / len(scores), all(map(self.is_right, answers))

    def by_skill(
        self, prompt: Prompt, evidence: Evidence, settings: Mapping[str, Any]
    ) -> Sequence[tuple[str, float]]:
        """Return each raw answer under its L2 category; officially of a grid's last image only."""
        answers = [each for each in evidence if isinstance(each, Answer)]
        if self.variant == "official":
            answers = answers[-len(propositions(prompt)) :]
        return [(answer.skill, float(self.is_right(answer))) for answer in answers]

    def variants(self, scored: Sequence[Scored]) -> Sequence[VariantScore]:
        """Return both variants of what the images of a run of the patched one come to.

        Four images of a prompt are one file, as `export` writes them; else each is one.

        Raises:
            HarnessError: The file of questions is not here.
        """
        if self.variant != "patched":
            return ()
        scores: dict[str, list[Score]] = {each.prompt.id: [] for each in scored}
        for each in sorted(scored, key=lambda each: each.replicate):
            if each.score is not None:
                scores[each.prompt.id].append(each.score)
        items: dict[str, Item] = {}
        answers: dict[str, list[list[str]]] = {}
        for prompt in {each.prompt.id: each.prompt for each in scored}.values():
            known = propositions(prompt)
            files = [list(_by_image(known, score.answers)) for score in scores[prompt.id]]
            if sum(map(len, files)) == GRID:  # which the official program is given as one file
                files = [[image for file in files for image in file]]
            for number, file in enumerate(files):
                name = f"{prompt.id}/{number}"
                items[name] = Item(prompt.id, prompt.text, tuple(known))
                answers[name] = file
        return compare(replace(self, variant="official").read(), items, answers)

    def result_files(
        self, scored: Sequence[Scored], settings: Mapping[str, Any]
    ) -> Mapping[str, str]:
        """Return the official program's file of results, and of both variants what they come to.

        Every file counts, as officially: of several images of an item each is one.
        """
        lines = []
        answers: dict[str, list[list[str]]] = {}
        items: dict[str, Item] = {}
        for each in scored:
            known = propositions(each.prompt)
            name = f"{each.prompt.id}/{each.replicate}"
            items[name] = Item(name, each.prompt.text, tuple(known))
            if each.score is None:
                continue
            answers[name] = list(_by_image(known, each.score.answers))
            crops = [crop_score(known, image) for image in answers[name]]
            numbers = [*crops, sum(crops) / len(crops)]
            lines.append(", ".join([each.file, *map(str, numbers)]))
        own = totals(items, answers, patched=self.variant == "patched")
        summary = [f"Variant: {self.variant}", *own.lines()]
        return {"dpg-bench_results.txt": "\n".join([*lines, *summary]) + "\n"}


@dataclass(frozen=True)
class DPGBench(GraphBenchmark):
    """The 1,065 published prompts with a graph of questions each.

    Source: Hu et al., "ELLA: Equip Diffusion Models with LLM for Enhanced Semantic Alignment",
    arXiv 2403.05135. The official score is the mean over prompts (micro).

    Attributes:
        path: The published file of questions, dpg_bench.csv, or with `own` one in its format.
        fetch: Get the published file from the official repository, if it is not here yet.
        own: The file is not the published one.
    """

    name: ClassVar[str] = "dpg-bench"
    parts: ClassVar[Mapping[str, str]] = {VLM: OFFICIAL}
    prompt_options: ClassVar[frozenset[str]] = frozenset({"path", "fetch", "own"})
    notice: ClassVar[str] = (
        "these DPG-Bench scores come from another VQA model than the official mPLUG: never compare "
        "them with published ones without saying so"
    )

    path: str = ""
    fetch: bool = False
    own: bool = False

    @property
    def external(self) -> bool:  # type: ignore[override]
        """True if the questions are of the user's own."""
        return self.own

    def read(self) -> QuestionFile:
        """Read the file of questions.

        Raises:
            UsageError: There is none, it is not the published one, or not in its format.
        """
        text = (
            read_text(expanded(self.path))
            if self.own
            else read_published(DATA, self.path, fetch=self.fetch)
        )
        source = self.path or DATA.name
        return parse_questions(text, source, skip_first=self.variant == "official")


def propositions(prompt: Prompt) -> list[Proposition]:
    """Return a prompt's propositions.

    Raises:
        HarnessError: It has none, or they are damaged.
    """
    try:
        known = _PROPOSITIONS.validate_python(prompt.metadata.get("questions"))
    except ValidationError:
        known = []
    if not known:
        raise HarnessError(f"prompt '{prompt.id}' is none of DPG-Bench's: it has no questions")
    return known


def _by_image(known: Sequence[Proposition], answers: Sequence[Answer]) -> Iterator[list[str]]:
    if not answers or len(answers) % len(known):
        raise HarnessError(f"{len(answers)} answers to {len(known)} questions")
    for start in range(0, len(answers), len(known)):
        yield [answer.answer for answer in answers[start : start + len(known)]]
