"""DPG-Bench's task on the miniature: own prompts and questions in its format, read from the scene.

Questions hang on each other as DPG-Bench's do: a number, colour or position on the objects that it
is about. So the whole road of that benchmark, both variants and grids included, runs on a laptop.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from benchmarks.dpg_bench.benchmark import GraphBenchmark
from benchmarks.dpg_bench.questions import COLUMNS, QuestionFile, parse_questions
from benchmarks.vqa.asking import Answerer
from harness.miniature.geneval2 import FEWEST, MOST, draw_row
from harness.miniature.scene_reader import PARTS, QUESTIONS, load_scene_reader, parse, plural
from harness.records import LARGEST_SEED, Loading, Prompt


@dataclass(frozen=True)
class MiniatureDPGBench(GraphBenchmark):
    """``size`` prompts over the miniature's vocabulary with a graph of questions each."""

    name: ClassVar[str] = "dpg-bench-miniature"
    parts: ClassVar[Mapping[str, str]] = PARTS
    prompt_options: ClassVar[frozenset[str]] = frozenset({"size", "seed"})
    notice: ClassVar[str] = (
        "dpg-bench-miniature: prompts and questions of this project, answered by a detector and a "
        "colour classifier that read the scene, by no vision-language model; no DPG-Bench score"
    )

    size: Annotated[int, Field(ge=1, le=10_000)] = 60
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0

    def read(self) -> QuestionFile:
        """Read the questions, through the same text as a file's."""
        return parse_questions(self.csv(), self.name, skip_first=self.variant == "official")

    def prompts(self) -> list[Prompt]:
        """All prompts in order; each text is there once."""
        required = {
            id: {key: row[key] for key in ("include", "exclude")}
            for id, row in self._rows().items()
        }
        return [  # with requirements of GenEval's form, for the miniature's judge
            replace(prompt, metadata={**prompt.metadata, **required[prompt.id]})
            for prompt in super().prompts()
        ]

    def csv(self) -> str:
        """Return the questions as a file in the official format."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        for id, row in self._rows().items():
            for number, (parents, written, question) in enumerate(_propositions(row), start=1):
                broad, _, detailed = written.partition("(")[0].partition("-")
                cells = (id, row["prompt"], "", number, parents, broad.strip(), detailed.strip())
                writer.writerow(dict(zip(COLUMNS, (*cells, written, question), strict=True)))
        return text.getvalue()

    def load_answerer(self, loading: Loading, settings: Mapping[str, Any]) -> Answerer:
        """Load who reads the scene."""
        return load_scene_reader(loading)

    def _rows(self) -> dict[str, dict[str, Any]]:
        rng = np.random.default_rng(self.seed)
        prefix = "" if (self.size, self.seed) == (60, 0) else f"s{self.seed}n{self.size}-"
        rows: dict[str, dict[str, Any]] = {}
        while len(rows) < self.size:
            row = draw_row(rng, int(rng.integers(FEWEST, MOST + 1)))
            rows.setdefault(row["prompt"], row)
        return {f"{prefix}scene{n:04d}": row for n, row in enumerate(rows.values())}


def _propositions(row: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield dependency, tuple and question of each proposition of a prompt, objects first."""
    questions = [(question, answer, parse(question)) for question, answer in row["vqa_list"]]
    numbers: dict[str, int] = {}
    for question, _, parsed in questions:
        if parsed.kind == "object":
            numbers[parsed.name] = len(numbers) + 1
            yield "0", f"entity - whole ({parsed.name})", question
    for question, answer, parsed in questions:
        own = numbers[parsed.name]
        if parsed.kind == "attribute":
            yield str(own), f"attribute - color ({parsed.name}, {parsed.color})", question
        elif parsed.kind == "count" and answer != "one":
            fields = {"are": "Are", "number": answer, "name": plural(parsed.name)}
            many = QUESTIONS["number"].format(**fields)
            yield str(own), f"other - count ({parsed.name}, {answer})", many
        elif parsed.kind == "position":
            related = f"{parsed.name}, {parsed.other}, {parsed.relation}"
            yield f"{own},{numbers[parsed.other]}", f"relation - spatial ({related})", question
