"""A scorer's test before it scores: questions whose answers are known.

`benchmarks.geneval.detectors.probe` says why. A scorer is refused over one wrong answer to

- the fixed picture there, which each network has to answer as
  the same checkpoint does on the CPU, in float32 and alone: the device computes right;
- images of known truth: preprocessing, networks, post-processing and rules judge right together.

A checkpoint folder may bring such images in `known_images/`, with a line for each question in
`answers.jsonl`:

- beside a detector, GenEval's metadata, the verdict, and (optional, as verdicts hardly depend on
  them) boxes of what there is:
  `{"image": "counting.png", "metadata": {"tag": …, "include": …}, "correct": true,
  "objects": [{"class": "laptop", "box": [4, 8, 27, 31]}, …]}`;
- beside a colour classifier, an object cut out of its image (alpha is its mask) and its colour:
  `{"image": "red.png", "class": "car", "color": "red"}`.

Folders without such images are not held to any.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from benchmarks.geneval.colors import Crop
from benchmarks.geneval.detectors.probe import distance, fixed_picture
from benchmarks.geneval.scorer import Examination, GenEvalScorer
from harness.errors import HarnessError, shortened
from harness.records import Image, Prompt

FOLDER = "known_images"
ANSWERS = "answers.jsonl"

EDGE = 3.0
"""Pixels that an edge of a box may be off."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A self-test that was passed.

    Attributes:
        images: Questions about images of known truth, all answered rightly.
        distances: By part, how far its answer to the fixed picture is from the CPU's (`compare`);
            empty where they were not compared.
    """

    images: int
    distances: Mapping[str, float] = field(default_factory=dict)


def compare(scorer: GenEvalScorer, reference: GenEvalScorer, tolerance: float) -> dict[str, float]:
    """Compare a scorer's networks with the same checkpoints on the CPU, in float32.

    Returns:
        By part: how far the answers are apart, relative to the length of the reference's.

    Raises:
        HarnessError: One of them is further apart than the tolerance, or is not finite.
    """
    picture = fixed_picture()
    answers = {
        "detector": [one.detector.probe(picture) for one in (scorer, reference)],
        "colors": [one.classifier.probe(picture) for one in (scorer, reference)],
    }
    distances = {}
    for part, (answer, expected) in answers.items():
        off = distance(answer, expected)
        if not off <= tolerance:
            raise HarnessError(
                f"the {part} answers a fixed question otherwise here than on the CPU (off by "
                f"{off:.2g} of the answer's length, at most {tolerance} is accepted)",
                "this build of torch may not support the device: try --device cpu, another "
                "build, or --dtype float32",
            )
        distances[part] = off
    return distances


def check_known_images(scorer: GenEvalScorer, checkpoints: Mapping[str, Path]) -> int:
    """Judge the known images of a scorer's checkpoints; its own overlap setting does not count.

    Returns:
        How many questions were answered, all rightly.

    Raises:
        HarnessError: An answer is wrong, or the images cannot be read.
    """
    hint = (
        "no score of this scorer can be trusted here: try --device cpu, another build of torch or "
        "--dtype float32, and get the checkpoint again"
    )
    return sum(
        check_known(
            Path(checkpoints[part]),
            functools.partial(wrong_of, scorer),
            f"images with known answers are judged wrongly with the {part} in {checkpoints[part]}",
            hint,
        )
        for part, wrong_of in (("detector", _wrong_verdicts), ("colors", _wrong_colors))
    )


def check_known(
    folder: Path, wrong_of: Callable[[list[Any], Path], list[str]], refusal: str, hint: str
) -> int:
    """Ask the questions with known answers that a checkpoint folder brings, if any.

    Args:
        folder: Of the checkpoint.
        wrong_of: From the questions and the folder of their images to what is answered wrongly.
        refusal: What is said where something is, before the answers.
        hint: What to do then.

    Returns:
        How many questions were answered, all rightly.

    Raises:
        HarnessError: An answer is wrong, or the questions cannot be read or asked.
    """
    place = folder / FOLDER
    if not place.is_dir():
        return 0
    questions = _read_known(place / ANSWERS)
    try:
        wrong = wrong_of(questions, place)
    except (KeyError, TypeError, ValueError) as error:
        raise HarnessError(
            f"{place / ANSWERS} holds a question that cannot be asked: {error!r}", _RESTORE
        ) from error
    if wrong:
        raise HarnessError(f"{refusal}: {shortened(wrong, 3)}", hint)
    return len(questions)


_RESTORE = "get the whole checkpoint folder again"


def _wrong_verdicts(scorer: GenEvalScorer, questions: list[Any], place: Path) -> list[str]:
    plain = GenEvalScorer(scorer.detector, scorer.classifier)
    prompts = [
        Prompt(str(number), "", question["metadata"]["tag"], question["metadata"])
        for number, question in enumerate(questions)
    ]
    images = [known_image(place / question["image"])[..., :3] for question in questions]
    wrong = []
    for question, examination in zip(questions, plain.examine(prompts, images), strict=True):
        outcome = examination.outcome
        if outcome.correct is not question["correct"]:
            reason = f" ({outcome.reason})" if outcome.reason else ""
            verdict = "right" if outcome.correct else "wrong"
            wrong.append(f"{question['image']} is {verdict}{reason}")
        wrong += [
            f"{question['image']} has no {item['class']} at {item['box']}"
            for item in question.get("objects", [])
            if not _is_detected(item, examination)
        ]
    return wrong


def _is_detected(item: Mapping[str, Any], examination: Examination) -> bool:
    box = np.array(item["box"], np.float32)
    return any(
        np.abs(examination.detections.boxes[index] - box).max() <= EDGE
        for index in examination.objects.get(item["class"], ())
    )


def _wrong_colors(scorer: GenEvalScorer, questions: list[Any], place: Path) -> list[str]:
    crops = []
    for question in questions:
        pixels = known_image(place / question["image"])
        box = np.array([0, 0, pixels.shape[1], pixels.shape[0]], np.float32)
        crops.append(Crop(pixels[..., :3], pixels[..., 3] > 0, box, question["class"]))
    colors = scorer.classifier.classify(crops)
    return [
        f"{question['image']} is {color}, not {question['color']}"
        for question, color in zip(questions, colors, strict=True)
        if color != question["color"]
    ]


def _read_known(file: Path) -> list[Any]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        questions = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise HarnessError(f"{file} cannot be read: {error}", _RESTORE) from error
    if not questions:
        raise HarnessError(f"{file} holds no question", _RESTORE)
    return questions


def known_image(file: Path) -> Image:
    """Read a PNG as RGBA, uint8, shape (height, width, 4).

    Raises:
        HarnessError: It cannot be read.
    """
    try:
        with Pillow.open(file, formats=["PNG"]) as image:
            return np.ascontiguousarray(image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError) as error:
        raise HarnessError(f"{file} cannot be read: {error}", _RESTORE) from error
