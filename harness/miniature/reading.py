"""The scene reader's share of right answers, on rendered scenes that nothing was trained on.

    python -m harness.miniature.reading

Each scene shows what a fresh prompt of `geneval2-miniature` asks for. It is asked that prompt's
questions and those of another one about the same classes, so that yes and no both occur; the truth
is the renderer's. Needs the emoji font.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from benchmarks.geneval.classes import CLASSES, NUMBERS
from benchmarks.geneval2.benchmark import ONE_WORD
from benchmarks.geneval2.scoring import spellings
from benchmarks.vqa.asking import Asked
from harness.miniature import WEIGHTS, explained
from harness.miniature.geneval2 import FEWEST, MOST, draw_row
from harness.miniature.prompts import place
from harness.miniature.scene_reader import (
    QUESTIONS,
    Parsed,
    SceneReader,
    holds,
    load_scene_reader,
    parse,
    plural,
)
from harness.miniature.scenes import Rendered, Scene, SceneObject, draw_background, render
from harness.records import Image, Loading

SEED = 20_000
"""Far from the seeds that prompts and training have."""

Tally = dict[str, tuple[int, int]]
"""By kind of question: right answers, and questions."""


def load_reader(weights: Path = WEIGHTS) -> SceneReader:
    """Load the reader that answers the miniature's questions."""
    parts = {"detector": weights / "detector", "colors": weights / "colors"}
    return load_scene_reader(Loading(parts, dtype="float32", batch_size=8))


def measure(reader: SceneReader, scenes: int, seed: int = SEED) -> Tally:
    """Ask about scenes and count the right answers."""
    rng = np.random.default_rng(seed)
    images: list[Image] = []
    objects: list[tuple[tuple[SceneObject, ...], Rendered]] = []
    questions: list[list[str]] = []
    while len(images) < scenes:
        row = draw_row(rng, int(rng.integers(FEWEST, MOST + 1)))
        pairs = [
            (each["class"], each.get("color"))
            for each in row["include"]
            for _ in range(each["count"])
        ]
        top, bottom = draw_background(rng)
        scene = Scene(place(rng, pairs), top, bottom)
        drawn = render(scene)
        images.append(drawn.image)
        objects.append((scene.objects, drawn))
        other = _about(rng, sorted({name for name, _ in pairs}))
        questions.append([question for question, _ in [*row["vqa_list"], *other]])
    asked = [
        [Asked(ONE_WORD.replace("{question}", each), spellings(each, "one")) for each in own]
        for own in questions
    ]
    tally: defaultdict[str, list[bool]] = defaultdict(list)
    answers = reader.ask(images, asked)
    for (shown, drawn), own, (tokens, _) in zip(objects, questions, answers, strict=True):
        for question, token in zip(own, tokens, strict=True):
            parsed = parse(question)
            if (truth := _truth(parsed, shown, drawn)) is not None:
                tally[parsed.kind].append(token.text == truth)
    return {kind: (sum(right), len(right)) for kind, right in sorted(tally.items())}


def _about(rng: np.random.Generator, names: Sequence[str]) -> list[list[str]]:
    """Questions of another prompt, about classes that are there and one that is not."""
    absent = str(rng.choice([name for name in CLASSES if name not in names]))
    row = draw_row(rng, int(rng.integers(FEWEST, MOST + 1)))
    own = [each["class"] for each in row["include"]]
    others = [str(rng.choice([*names, absent])) for _ in own]
    questions = []
    for question, answer in row["vqa_list"]:
        parsed = parse(question)
        swap = dict(zip(own, others, strict=True))
        name, other = swap[parsed.name], swap.get(parsed.other, "")
        if parsed.kind == "position" and name == other:
            continue
        noun = plural(name) if parsed.kind in ("count", "object") else name
        fields = {**asdict(parsed), "are": "Is", "name": noun, "other": other}
        questions.append([QUESTIONS[parsed.kind].format(**fields), answer])
    return questions


def _truth(question: Parsed, shown: Sequence[SceneObject], drawn: Rendered) -> str | None:
    """The right answer; None where the renderer does not know it, as of a natural colour."""
    own, others = (
        [index for index, each in enumerate(shown) if each.name == name]
        for name in (question.name, question.other)
    )
    if question.kind == "count":
        return NUMBERS[len(own)]
    colors = {index: each.colour for index, each in enumerate(shown)}
    if question.kind == "attribute" and any(colors[index] is None for index in own):
        return None
    is_object = question.kind == "object"
    is_true = bool(own) if is_object else holds(question, own, others, colors, drawn.boxes)
    return "Yes" if is_true else "No"


@click.command()
@click.option("--scenes", default=500, show_default=True, help="How many are rendered.")
@click.option("--threads", default=1, show_default=True, help="CPU threads.")
def main(scenes: int, threads: int) -> None:
    """Print how often the answers are right, by kind of question."""
    import torch

    torch.set_num_threads(threads)
    for kind, (right, questions) in measure(load_reader(), scenes).items():
        click.echo(f"{kind}: {right / questions:.4f} of {questions}")


if __name__ == "__main__":
    with explained():
        main()
