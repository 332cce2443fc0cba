"""A vision-language model's first tokens against what the official code printed of a tiny one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from transformers import RepetitionPenaltyLogitsProcessor

from benchmarks.geneval2.scoring import YES, geometric_mean, spellings
from benchmarks.vqa.asking import Asked, FirstToken
from benchmarks.vqa.reader import LENGTH_STEP, MAX_TOKENS, Reader
from harness.errors import BadAnswer, HarnessError
from harness.models.vlm_loading import load_vlm
from harness.records import Cost, Image, Loading
from tests.models.tiny_vlm import make_qwen
from tests.reference.geneval2 import arithmetic_mean
from tests.shared import SHARED, needs_shared

FOLDER = SHARED / "geneval2"


def load(folder: Path, **options: Any) -> Reader:
    model, processor = load_vlm(Loading({"model": folder}), resize="torchvision")
    return Reader(model, processor, **options)


def image(name: str) -> Image:
    return np.array(Pillow.open(FOLDER / name).convert("RGB"))


def atoms(case: Any, rows: Sequence[Any]) -> list[Asked]:
    row = case if "vqa_list" in case else rows[case["row"]]
    asked = [
        Asked(f"{q} Answer in one word.", spellings(q, a), mended=False) for q, a in row["vqa_list"]
    ]
    shows = f'Does this image show "{row["prompt"]}"? Answer the question with Yes or No.'
    return [*asked, Asked(shows, YES, mended=False)]


@pytest.mark.slow
@needs_shared("geneval2")
@pytest.mark.parametrize("name", ["own_cases.json", "vqa_cases.json"])
def test_every_probability_and_prediction_is_the_official_one(name: str) -> None:
    cases = json.loads((FOLDER / name).read_text())["cases"]
    lines = (FOLDER / "geneval2_data.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    reader = load(FOLDER / "tiny_qwen3_vl", batch_size=3, questions=4)
    answers = reader.ask(
        [image(case["image"]) for case in cases], [atoms(case, rows) for case in cases]
    )
    for case, (tokens, _) in zip(cases, answers, strict=True):
        *own, shows = tokens
        scores = [token.probability for token in own]
        assert scores == pytest.approx(case["soft_tifa"], abs=1e-5)
        assert [token.text for token in own] == case["predictions"]
        assert shows.probability == pytest.approx(case["vqascore"], abs=1e-5)
        assert arithmetic_mean(scores) == pytest.approx(case["am"], abs=1e-5)
        assert geometric_mean(scores) == pytest.approx(case["gm"], abs=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen2_5")
    make_qwen(folder)
    return folder


@pytest.fixture(scope="module")
def reader(folder: Path) -> Reader:
    return load(folder, batch_size=2, questions=3)


def pixels(side: int, seed: int) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


IMAGES = [pixels(32, 0), pixels(32, 1), pixels(40, 2), pixels(32, 3)]
QUESTIONS = [
    [Asked("the bench is correct", ("correct", "not"))],
    [Asked(f"the bench is {'a ' * n} cow", ("correct",)) for n in (1, 2, LENGTH_STEP, 3, 4)],
    [Asked("no cow", ("cow", "cow"), mended=False)] * 2,
    [],
]


def whole(reader: Reader, picture: Image, message: str, penalty: float = 1.0) -> torch.Tensor:
    """The first token's distribution, by transformers' own processor and forward pass."""
    content = [
        {"type": "image", "image": Pillow.fromarray(picture)},
        {"type": "text", "text": message},
    ]
    inputs = reader.processor.apply_chat_template(
        [[{"role": "user", "content": content}]],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        logits = reader.model(**inputs).logits[:, -1].float()
    penalize = RepetitionPenaltyLogitsProcessor(penalty)
    distribution: torch.Tensor = penalize(inputs["input_ids"], logits)[0].softmax(-1)
    return distribution


def test_a_cached_prefix_changes_nothing(reader: Reader) -> None:
    """For a family with other positions and windows than the reference's."""
    tokenizer = reader.processor.tokenizer
    for (tokens, _), picture, asked in zip(
        reader.ask(IMAGES, QUESTIONS), IMAGES, QUESTIONS, strict=True
    ):
        for token, each in zip(tokens, asked, strict=True):
            expected = whole(reader, picture, each.message)
            words = tokenizer.convert_tokens_to_ids(list(each.spellings))
            assert token.probability == pytest.approx(float(expected[words].sum()), abs=1e-5)
            assert token.text == tokenizer.decode(
                [int(expected.argmax())], skip_special_tokens=True
            )


def test_an_answer_depends_on_its_own_image_and_question_alone(reader: Reader) -> None:
    together = reader.ask(IMAGES, QUESTIONS)
    apart = [reader.ask([one], [asked])[0] for one, asked in zip(IMAGES, QUESTIONS, strict=True)]
    assert together == apart
    backwards = reader.ask(IMAGES[::-1], [asked[::-1] for asked in QUESTIONS[::-1]])
    assert [tokens[::-1] for tokens, _ in backwards[::-1]] == [tokens for tokens, _ in together]


def test_the_image_is_paid_for_once(reader: Reader) -> None:
    once, twice = (reader.ask([IMAGES[2]], [QUESTIONS[2][:number]])[0][1] for number in (1, 2))
    assert 0 < twice.tokens - once.tokens < once.tokens
    assert once.flops is not None and twice.flops is not None
    assert once.flops < twice.flops < 2 * once.flops
    assert isinstance(once, Cost)


def test_equal_first_tokens_are_added_again_unless_mended(reader: Reader) -> None:
    asked = [
        Asked("the cow", ("cow", "cow"), mended=False),
        Asked("the cow", ("cow",), mended=False),
        Asked("the cow", ("cow", "cow")),
    ]
    double, single, mended = reader.ask(IMAGES[:1], [asked])[0][0]
    assert double.probability == 2 * single.probability > 0
    assert mended == single


def test_a_repetition_penalty_applies_and_sampling_settings_do_not(folder: Path) -> None:
    model, processor = load_vlm(Loading({"model": folder}), resize="torchvision")
    asked = [[Asked("the cow", ("cow",))]]

    def first() -> FirstToken:
        return Reader(model, processor).ask(IMAGES[:1], asked)[0][0][0]

    plain = first()
    model.generation_config.temperature = 0.1
    model.generation_config.top_k = 1
    assert first() == plain
    model.generation_config.repetition_penalty = 1.5
    expected = whole(Reader(model, processor), IMAGES[0], "the cow", 1.5)
    cow = processor.tokenizer.convert_tokens_to_ids("cow")
    assert first().probability == pytest.approx(float(expected[cow]), abs=1e-6)
    assert first().probability != pytest.approx(plain.probability, abs=1e-4)
    model.generation_config.repetition_penalty = None
    model.generation_config.suppress_tokens = [3]
    with pytest.raises(HarnessError, match="suppress_tokens"):
        first()


def test_a_question_with_an_images_token_is_refused(reader: Reader) -> None:
    with pytest.raises(HarnessError, match="stands for an image"):
        reader.ask(IMAGES[:1], [[Asked("a <|image_pad|> cow", ("cow",))]])


def test_a_question_without_end_is_refused(reader: Reader) -> None:
    with pytest.raises(HarnessError, match="longer than"):
        reader.ask(IMAGES[:1], [[Asked("cow " * MAX_TOKENS, ("cow",))]])


def test_an_output_that_is_not_finite_is_a_failure(folder: Path) -> None:
    model, processor = load_vlm(Loading({"model": folder}), resize="torchvision")
    with torch.no_grad():
        model.lm_head.weight[0, 0] = float("nan")
    with pytest.raises(BadAnswer, match="NaN"):
        Reader(model, processor).ask(IMAGES[:1], [[Asked("the cow", ("cow",))]])


def test_a_model_of_another_family_is_refused(folder: Path) -> None:
    model, processor = load_vlm(Loading({"model": folder}))
    model.config.model_type = "llava"
    with pytest.raises(HarnessError, match="llava"):
        Reader(model, processor)
