"""Images with known answers beside a checkpoint, judged whenever a scorer starts.

A forward pass that equals the CPU's says that the device computes right; an image whose truth is
known says that the whole scorer judges right: preprocessing, network, post-processing and rules.
A checkpoint folder may bring such images in `known_images/`, with a line for each question in
`answers.jsonl`:

- beside a detector, GenEval's metadata, the verdict, and (optional, as verdicts hardly depend on
  them) boxes of what there is:
  `{"image": "counting.png", "metadata": {"tag": …, "include": …}, "correct": true,
  "objects": [{"class": "laptop", "box": [4, 8, 27, 31]}, …]}`;
- beside a colour classifier, an object cut out of its image (alpha is its mask) and its colour:
  `{"image": "red.png", "class": "car", "color": "red"}`.

One wrong answer, and the scorer is refused. Folders without such images are not held to any.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from benchmarks.geneval.colors import Crop
from benchmarks.geneval.scorer import Examination, GenEvalScorer
from harness.errors import HarnessError, shortened
from harness.records import Image, Prompt

FOLDER = "known_images"
ANSWERS = "answers.jsonl"

EDGE = 3.0
"""Pixels that an edge of a box may be off."""


def check_known_images(scorer: GenEvalScorer, checkpoints: Mapping[str, Path]) -> int:
    """Judge the known images of a scorer's checkpoints.

    Args:
        scorer: As it will work; its own overlap setting does not count.
        checkpoints: Local folders of `detector` and `colors`.

    Returns:
        How many questions were answered, all rightly.

    Raises:
        HarnessError: An answer is wrong, or the images cannot be read.
    """
    asked = 0
    for part, wrong_of in (("detector", _wrong_verdicts), ("colors", _wrong_colors)):
        place = Path(checkpoints[part]) / FOLDER
        if not place.is_dir():
            continue
        questions = _read(place)
        try:
            wrong = wrong_of(scorer, questions, place)
        except (KeyError, TypeError) as error:
            raise HarnessError(
                f"{place / ANSWERS} holds a question that cannot be asked: {error!r}", _RESTORE
            ) from error
        if wrong:
            raise HarnessError(
                f"images with known answers are judged wrongly with the {part} in "
                f"{checkpoints[part]}: {shortened(wrong, 3)}",
                "no score of this scorer can be trusted here: try --device cpu, another build of "
                "torch or --dtype float32, and get the checkpoint again",
            )
        asked += len(questions)
    return asked


_RESTORE = "get the whole checkpoint folder again"


def _wrong_verdicts(scorer: GenEvalScorer, questions: list[Any], place: Path) -> list[str]:
    plain = GenEvalScorer(scorer.detector, scorer.classifier)
    prompts = [
        Prompt(str(number), "", question["metadata"]["tag"], question["metadata"])
        for number, question in enumerate(questions)
    ]
    images = [_pixels(place / question["image"])[..., :3] for question in questions]
    wrong = []
    for question, seen in zip(questions, plain.examine(prompts, images), strict=True):
        if seen.outcome.correct is not question["correct"]:
            reason = f" ({seen.outcome.reason})" if seen.outcome.reason else ""
            verdict = "right" if seen.outcome.correct else "wrong"
            wrong.append(f"{question['image']} is {verdict}{reason}")
        wrong += [
            f"{question['image']} has no {item['class']} at {item['box']}"
            for item in question.get("objects", [])
            if not _is_seen(item, seen)
        ]
    return wrong


def _is_seen(item: Mapping[str, Any], seen: Examination) -> bool:
    box = np.array(item["box"], np.float32)
    return any(
        np.abs(seen.detections.boxes[index] - box).max() <= EDGE
        for index in seen.kept.get(item["class"], ())
    )


def _wrong_colors(scorer: GenEvalScorer, questions: list[Any], place: Path) -> list[str]:
    crops = []
    for question in questions:
        pixels = _pixels(place / question["image"])
        box = np.array([0, 0, pixels.shape[1], pixels.shape[0]], np.float32)
        crops.append(Crop(pixels[..., :3], pixels[..., 3] > 0, box, question["class"]))
    found = scorer.classifier.classify(crops)
    return [
        f"{question['image']} is {color}, not {question['color']}"
        for question, color in zip(questions, found, strict=True)
        if color != question["color"]
    ]


def _read(place: Path) -> list[Any]:
    file = place / ANSWERS
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        questions = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise HarnessError(f"{file} cannot be read: {error}", _RESTORE) from error
    if not questions:
        raise HarnessError(f"{file} holds no question", _RESTORE)
    return questions


def _pixels(file: Path) -> Image:
    """RGBA, uint8, shape (height, width, 4)."""
    try:
        with Pillow.open(file, formats=["PNG"]) as image:
            return np.ascontiguousarray(image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError) as error:
        raise HarnessError(f"{file} cannot be read: {error}", _RESTORE) from error
