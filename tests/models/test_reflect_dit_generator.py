"""The generator against the official outputs, against plain SANA, and against itself alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from harness import flops
from harness.errors import HarnessError, UsageError
from harness.models.base import Generator
from harness.models.reflect_dit.generator import (
    SHORT_SENTENCE,
    ReflectDiTGenerator,
    ReflectDiTSettings,
)
from harness.models.sana import SanaGenerator
from harness.models.suites import Suite, load_suite, sampler_settings
from harness.records import Ability, Feedback, Loading, Request
from harness.registry import GENERATORS
from harness.testing.generators import GeneratorContract
from harness.truncation import Truncation
from tests.tiny import make_tiny_reflect_suite

GOLDEN = Path(__file__).parent.parent / "golden" / "reflect_dit"
SENTENCES = ["there is no cow", "a red bench", "a " * 30, "and two clocks " * 2]

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")


def load(parts: dict[str, Path], batch_size: int = 4, **changes: Any) -> ReflectDiTGenerator:
    return ReflectDiTGenerator.load(Loading(parts, batch_size=batch_size, **changes))


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    return load_suite(make_tiny_reflect_suite(tmp_path_factory.mktemp("reflect")))


@pytest.fixture(scope="module")
def parts(suite: Suite) -> dict[str, Path]:
    return {part: Path(ref) for part, ref in suite.generator.checkpoints.items()}


@pytest.fixture(scope="module")
def plain(suite: Suite) -> list[Request]:
    settings = sampler_settings(suite.generator)
    texts = ["a photo of a bench", "a photo of two clocks", "a photo of a bench", "a red cow"]
    return [Request(f"id{i}", text, ((40 + i, 1.0),), settings) for i, text in enumerate(texts)]


def with_feedback(requests: list[Request], number: int) -> list[Request]:
    """Feedbacks of unlike lengths and sizes; the third request's do not fit the short context."""
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (32, 8 * (i + 1), 3), np.uint8) for i in range(8)]
    return [
        replace(
            request,
            feedback=tuple(
                Feedback(f"d{i + k}", SENTENCES[(i + k) % 4] + (" a" * 35 if i == 2 else ""))
                for k in range(number)
            ),
            images={f"d{i + k}": images[i + k] for k in range(number)},
        )
        for i, request in enumerate(requests)
    ]


@pytest.fixture(scope="module")
def requests(plain: list[Request]) -> list[Request]:
    return with_feedback(plain, 2)


@pytest.fixture
def generator(parts: dict[str, Path]) -> ReflectDiTGenerator:
    return load(parts)


class TestTinyReflectDiT(GeneratorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def generator(cls, parts: dict[str, Path]) -> Generator:
        return load(parts)

    @pytest.fixture(scope="class")
    @classmethod
    def truncation(cls, parts: dict[str, Path]) -> Truncation | None:
        return ReflectDiTGenerator.truncation(parts)

    @pytest.fixture(scope="class")
    @classmethod
    def requests(cls, requests: list[Request]) -> list[Request]:
        return requests


class TestTinyReflectDiTWithoutFeedback(TestTinyReflectDiT):
    @pytest.fixture(scope="class")
    @classmethod
    def requests(cls, plain: list[Request]) -> list[Request]:
        return plain


def test_a_sentence_that_is_cut_is_told_of(
    generator: ReflectDiTGenerator, parts: dict[str, Path], requests: list[Request]
) -> None:
    truncation = ReflectDiTGenerator.truncation(parts)
    assert truncation is not None and not truncation(requests[0])
    assert truncation(requests[2]) == ["feedback"]
    sentences = [item.sentence for item in requests[2].feedback]
    for sentence in sentences:
        request = replace(requests[2], feedback=(Feedback("d0", sentence),))
        words = len(generator.pipeline.tokenizer.encode(sentence))
        assert bool(truncation(request)) == (words > request.settings["max_feedback_length"])


@needs_gpu
class TestTinyReflectDiTOnAGpu(TestTinyReflectDiT):
    @pytest.fixture(scope="class")
    @classmethod
    def generator(cls, parts: dict[str, Path]) -> Generator:
        return load(parts, device="cuda")

    def test_in_float32_it_makes_the_images_of_the_cpu(
        self, parts: dict[str, Path], requests: list[Request]
    ) -> None:
        there = load(parts, device="cuda", dtype="float32").generate(requests)
        for one, other in zip(there, load(parts).generate(requests), strict=True):
            image, expected = one.image, other.image
            assert np.abs(image.astype(int) - expected.astype(int)).max() <= 2


def golden_cases() -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    with safe_open(GOLDEN / "pipeline_cases.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()["json"])["cases"], tensors


def settings_of(case: dict[str, Any]) -> ReflectDiTSettings:
    names = ("num_inference_steps", "guidance_scale", "height", "width", "image_tokens")
    return ReflectDiTSettings(**{name: case[name] for name in names})


def request_of(case: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Request:
    feedback = tuple(Feedback(str(item["image"]), item["text"]) for item in case["feedback"])
    images = {f.draw_id: tensors[f"feedback_image{f.draw_id}"].numpy() for f in feedback}
    return Request("id", case["prompt"], ((0, 1.0),), {}, feedback, images)


def pixels(
    generator: ReflectDiTGenerator,
    rows: list[Request],
    settings: ReflectDiTSettings,
    **further: Any,
) -> torch.Tensor:
    """Images before rounding."""
    if rows[0].feedback:
        read = [generator._read(row, settings) for row in rows]
        further |= generator._condition(read, settings, range(len(read)))
    return generator._run(rows, settings, further)[0]


@pytest.mark.parametrize("number", range(4))
def test_it_agrees_with_the_official_pipeline(number: int) -> None:
    generator = load(
        {"pipeline": GOLDEN / "pipeline", "vision_encoder": GOLDEN / "vision_encoder"}, 1
    )
    cases, tensors = golden_cases()
    settings, request = settings_of(cases[number]), request_of(cases[number], tensors)
    latents = tensors[f"case{number}.latents"]
    image = pixels(generator, [request], settings, latents=latents)
    assert (image - tensors[f"case{number}.image"]).abs().max() < 1e-4


@pytest.mark.slow
def test_in_a_batch_each_draw_agrees_with_the_official_pipeline_on_it_alone() -> None:
    generator = load(
        {"pipeline": GOLDEN / "pipeline", "vision_encoder": GOLDEN / "vision_encoder"}, 1
    )
    cases, tensors = golden_cases()
    chosen = [1, 2, 3]
    requests = [request_of(cases[number], tensors) for number in chosen]
    latents = torch.cat([tensors[f"case{number}.latents"] for number in chosen])
    for row, number in enumerate(chosen):
        settings = settings_of(cases[number])
        image = pixels(generator, requests, settings, latents=latents)[row]
        assert (image - tensors[f"case{number}.image"][0]).abs().max() < 1e-4


def test_it_is_what_the_registry_names(generator: ReflectDiTGenerator) -> None:
    assert GENERATORS.get("reflect-dit") is ReflectDiTGenerator
    assert isinstance(generator, Generator)
    assert Ability.FEEDBACK in ReflectDiTGenerator.abilities


def test_without_feedback_it_is_plain_sana_bit_for_bit(
    generator: ReflectDiTGenerator, parts: dict[str, Path], plain: list[Request]
) -> None:
    names = ("image_tokens", "max_feedback_length")
    bare = [
        replace(r, settings={k: v for k, v in r.settings.items() if k not in names}) for r in plain
    ]
    sana = SanaGenerator.load(Loading({"pipeline": parts["pipeline"]}, batch_size=4))
    for one, other in zip(generator.generate(plain), sana.generate(bare), strict=True):
        assert np.array_equal(one.image, other.image) and one.cost == other.cost


@pytest.mark.slow
def test_draws_without_feedback_may_be_another_transformers(
    generator: ReflectDiTGenerator,
    parts: dict[str, Path],
    plain: list[Request],
    requests: list[Request],
    tmp_path: Path,
) -> None:
    base = Path(shutil.copytree(parts["pipeline"] / "transformer", tmp_path / "b" / "transformer"))
    path = base / "diffusion_pytorch_model.safetensors"
    save_file({name: weight * 0.9 for name, weight in load_file(path).items()}, path)
    both = load({**parts, "plain": base.parent})
    whole = shutil.copytree(parts["pipeline"], tmp_path / "whole")
    shutil.copytree(base, whole / "transformer", dirs_exist_ok=True)
    alone = load({**parts, "pipeline": whole})
    for one, other in zip(both.generate(plain), alone.generate(plain), strict=True):
        assert np.array_equal(one.image, other.image) and one.cost == other.cost
    # The prompts are known by now, whichever transformer they were first encoded for.
    generator.generate(plain)
    for one, other in zip(both.generate(requests), generator.generate(requests), strict=True):
        assert np.array_equal(one.image, other.image) and one.cost == other.cost
    assert not np.array_equal(both.generate(plain)[0].image, generator.generate(plain)[0].image)
    with pytest.raises(HarnessError, match=r"config\.json"):
        load({**parts, "plain": tmp_path})


@pytest.mark.sampled(1)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_before_rounding_too_a_row_is_bitwise_its_own(
    parts: dict[str, Path], requests: list[Request], dtype: str
) -> None:
    generator = load(parts, dtype=dtype)
    settings = generator._check(requests)
    assert isinstance(settings, ReflectDiTSettings)

    short = [requests[0], requests[1], requests[3], requests[0]]
    whole = pixels(generator, short, settings)
    assert torch.equal(whole.flip(0), pixels(generator, short[::-1], settings))
    assert torch.equal(whole[1], pixels(generator, [short[1]] * 4, settings)[2])
    assert len({image.numpy().tobytes() for image in whole.float()}) == 3


@pytest.mark.slow
def test_what_it_is_told_and_shown_changes_the_image(
    generator: ReflectDiTGenerator, plain: list[Request], requests: list[Request]
) -> None:
    first, seen = requests[0].feedback[0], requests[0].images
    inverted = {"x": 255 - seen[first.draw_id]}
    variants = [
        plain[0],
        replace(plain[0], feedback=(first,), images=seen),
        replace(plain[0], feedback=(replace(first, sentence="there is no bench"),), images=seen),
        replace(plain[0], feedback=(replace(first, draw_id="x"),), images=inverted),
        replace(plain[0], feedback=requests[0].feedback[::-1], images=seen),
        requests[0],
    ]
    images = {generator.generate([variant])[0].image.tobytes() for variant in variants}
    assert len(images) == len(variants)


def test_a_rows_context_length_is_its_own(
    generator: ReflectDiTGenerator, requests: list[Request]
) -> None:
    settings = generator._check(requests)
    assert isinstance(settings, ReflectDiTSettings)
    lengths = [generator._read(request, settings).positions for request in requests]
    short, long = 2 * (4 + SHORT_SENTENCE), 2 * (4 + 40)
    assert lengths == [short, short, long, short]


@pytest.mark.slow
def test_every_network_runs_at_shapes_that_the_row_decides(
    generator: ReflectDiTGenerator, requests: list[Request]
) -> None:
    pipeline = generator.pipeline
    shapes: dict[str, set[tuple[int, ...]]] = {"latents": set(), "context": set(), "text": set()}
    for name, module in (
        ("latents", pipeline.transformer),
        ("context", pipeline.transformer.reflection_norm),
        ("text", pipeline.text_encoder),
    ):
        module.register_forward_hook(
            lambda _m, inputs, _o, seen=shapes[name]: seen.add(tuple(inputs[0].shape))
        )
    for number in (1, 2, 3, 4):
        generator.generate(requests[:number])
    assert shapes == {
        "latents": {(8, 4, 8, 8)},
        "context": {(8, 72, 32), (8, 88, 32)},
        "text": {(1, 12), (1, 40)},
    }


@pytest.mark.slow
def test_images_and_sentences_are_encoded_once_and_charged_once(
    generator: ReflectDiTGenerator, plain: list[Request], requests: list[Request]
) -> None:
    looks: list[int] = []
    generator.vision.model.register_forward_hook(lambda *_: looks.append(1))
    generator.generate(plain)
    first = generator.generate(requests)
    assert len(looks) == 5
    again = generator.generate(requests)
    assert len(looks) == 5
    pairs = zip(first, again, strict=True)
    paid = [now.cost.flops - later.cost.flops for now, later in pairs]
    vision = flops.count(
        lambda: generator.vision.encode(next(iter(requests[0].images.values())), 4)
    )
    # Row 0 brings two images, each later row one more.
    assert paid[0] > 2 * vision and all(part > vision for part in paid)


@pytest.mark.slow
@pytest.mark.parametrize("guidance_scale", [3.5, 1.0])
def test_flops_counted_without_weights_are_those_of_the_real_modules(
    generator: ReflectDiTGenerator, requests: list[Request], guidance_scale: float
) -> None:
    chosen = (requests[0], requests[1], requests[3], requests[0])
    rows = [
        replace(row, settings={**row.settings, "guidance_scale": guidance_scale}) for row in chosen
    ]
    first = sum(made.cost.flops for made in generator.generate(rows))
    later = sum(made.cost.flops for made in generator.generate(rows))
    assert flops.count(lambda: generator.generate(rows)) == later
    forgetful = ReflectDiTGenerator(generator.pipeline, generator.vision, batch_size=4)
    forgetful._meter._counted = generator._meter._counted  # counting is no part of what is counted
    assert flops.count(lambda: forgetful.generate(rows)) == first > later


@pytest.mark.slow
def test_more_feedback_costs_more(generator: ReflectDiTGenerator, plain: list[Request]) -> None:
    costs = []
    for number in range(4):
        rows = with_feedback(plain, number)[:1]
        generator.generate(rows)
        costs.append(generator.generate(rows)[0].cost)
    assert [cost.nfe for cost in costs] == [4] * 4
    assert sorted({cost.flops for cost in costs}) == [cost.flops for cost in costs]


def test_unequal_numbers_of_feedbacks_are_refused(
    generator: ReflectDiTGenerator, plain: list[Request], requests: list[Request]
) -> None:
    with pytest.raises(HarnessError, match="number of feedbacks"):
        generator.generate([plain[0], requests[1]])


@pytest.mark.parametrize("tokens", [3, 9])
def test_a_grid_that_cannot_be_pooled_is_refused(
    generator: ReflectDiTGenerator, requests: list[Request], tokens: int
) -> None:
    bad = replace(requests[0], settings={**requests[0].settings, "image_tokens": tokens})
    with pytest.raises(UsageError, match=f"4 x 4 patches cannot give {tokens} image tokens"):
        generator.generate([bad])


@pytest.mark.slow
def test_the_transformer_may_lie_elsewhere(
    parts: dict[str, Path], requests: list[Request], tmp_path: Path
) -> None:
    pipeline = Path(shutil.copytree(parts["pipeline"], tmp_path / "base"))
    (pipeline / "transformer").rename(tmp_path / "dit")
    apart = {**parts, "pipeline": pipeline, "transformer": tmp_path / "dit"}
    image = load(apart).generate(requests[:1])[0].image
    assert np.array_equal(image, load(parts).generate(requests[:1])[0].image)
    with pytest.raises(HarnessError, match="does not exist"):
        load({**parts, "pipeline": pipeline})


def test_a_plain_transformer_is_no_reflect_dit(parts: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(parts["pipeline"] / "transformer", tmp_path / "transformer"))
    path = folder / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    save_file({k: v for k, v in weights.items() if not k.startswith(("clip", "refl"))}, path)
    with pytest.raises(HarnessError, match=r"do not fit .*WithContext: missing"):
        load({**parts, "transformer": folder})


def test_another_vision_encoder_is_refused(parts: dict[str, Path]) -> None:
    with pytest.raises(HarnessError, match="vision features of 16 channels"):
        load({**parts, "vision_encoder": GOLDEN / "vision_encoder"})


@pytest.mark.slow
def test_a_whole_siglip_will_do_for_its_vision_half(
    parts: dict[str, Path], requests: list[Request], tmp_path: Path
) -> None:
    from transformers import SiglipConfig, SiglipModel, SiglipVisionModel

    vision = SiglipVisionModel.from_pretrained(parts["vision_encoder"])
    text = {"vocab_size": 8, "hidden_size": 16, "intermediate_size": 16, "projection_size": 16}
    text |= {"num_hidden_layers": 1, "num_attention_heads": 2}
    whole = SiglipModel(SiglipConfig(text_config=text, vision_config=vision.config.to_dict()))
    whole.vision_model.load_state_dict(vision.state_dict())
    whole.save_pretrained(tmp_path)
    shutil.copy(parts["vision_encoder"] / "preprocessor_config.json", tmp_path)
    image = load({**parts, "vision_encoder": tmp_path}).generate(requests[:1])[0].image
    assert np.array_equal(image, load(parts).generate(requests[:1])[0].image)


@pytest.mark.parametrize("part", ["pipeline", "vision_encoder"])
def test_what_is_missing_is_named(parts: dict[str, Path], part: str) -> None:
    with pytest.raises(UsageError, match=f"needs a checkpoint named '{part}'"):
        load({name: path for name, path in parts.items() if name != part})
    with pytest.raises(HarnessError, match="does not exist"):
        load({**parts, part: Path("/nowhere")})


def test_bad_settings_are_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UsageError, match="image_token"):
        load({}, settings={"image_token": 4})
