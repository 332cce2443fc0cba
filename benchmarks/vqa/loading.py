"""From a checkpoint to a vision-language model that has passed its self-test.

Known answers are images and questions in the checkpoint's folder `known_images`, as for detectors;
a line of `answers.jsonl` has `image`, `question` (the whole message), `spellings` of the answer and
whether it is `right`. Whatever the checkpoint has, its cached answers are held against a plain
forward pass of the whole text.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.geneval.self_test import check_known, known_image
from benchmarks.vqa.asking import ENOUGH, Asked
from benchmarks.vqa.reader import Reader
from harness.errors import HarnessError
from harness.models.vlm_loading import Resize, load_vlm
from harness.records import Loading

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.05}
"""How far a token's probability may lie from that of a plain forward pass."""

_HINT = "no score of this scorer can be trusted here: try --dtype float32, or another transformers"


def load_reader(loading: Loading, part: str, *, questions: int, resize: Resize) -> Reader:
    """Load a vision-language model with its tokenizer, chat template and image processor.

    Args:
        loading: The checkpoint `part` is a folder with all of it.
        part: See `loading`.
        questions: Questions that are answered together.
        resize: Whose resampling images get.

    Raises:
        HarnessError: A file is missing or damaged, the model is of another family, or it answers
            otherwise than it must.
    """
    model, processor = load_vlm(loading, part=part, resize=resize)
    reader = Reader(model, processor, batch_size=loading.batch_size, questions=questions)
    check_cache(reader, TOLERANCE[loading.dtype])
    folder = loading.checkpoints[part]
    refusal = f"questions with known answers are answered wrongly by {folder}"
    check_known(folder, functools.partial(_wrong_answers, reader), refusal, _HINT)
    return reader


def check_cache(reader: Reader, tolerance: float) -> None:
    """Hold answers that go on from an image's cache against forward passes of the whole text.

    Raises:
        HarnessError: They differ by more than a tolerance.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (96, 64, 3), np.uint8)
    messages = ["Is there a cow? Answer in one word.", "How many?"]
    row = reader.encode(pixels, messages)
    worst = 0.0
    for _, question, distribution in reader.distributions([row]):
        plain = reader.plain(row, question)
        worst = max(worst, float((distribution - plain).abs().max()))
    if not worst <= tolerance:
        raise HarnessError(
            f"the model's answers from a cached image differ by {worst:.2g} from those of a plain "
            f"forward pass, more than {tolerance:g}",
            _HINT,
        )


def _wrong_answers(reader: Reader, known: list[Any], place: Path) -> list[str]:
    asked = [[Asked(str(each["question"]), tuple(each["spellings"]))] for each in known]
    images = [known_image(place / each["image"])[..., :3] for each in known]
    rights = [bool(each["right"]) for each in known]
    answers = [tokens[0] for tokens, _ in reader.ask(images, asked)]
    return [
        f"{each['image']}: {each['question']} ({answer.text.strip()}, {answer.probability:.2f})"
        for each, answer, right in zip(known, answers, rights, strict=True)
        if (answer.probability > ENOUGH) is not right
    ]
