from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from harness.errors import BadAnswer, Failure, HarnessError, UsageError
from harness.models import pipeline_generator
from harness.models.base import Generator
from harness.models.noise import noise_tensor
from harness.models.sana import SanaGenerator, SanaSettings, instruction
from harness.models.suites import Suite, sampler_settings
from harness.records import Feedback, Loading, Request
from harness.registry import GENERATORS
from harness.testing.generators import GeneratorContract
from harness.truncation import Truncation

GOLDEN = Path(__file__).parent.parent / "golden" / "reflect_dit"
PARITY = 1e-4


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")


def load(
    folder: Path,
    batch_size: int = 4,
    device: str = "cpu",
    dtype: str = "auto",
    **settings: Any,
) -> SanaGenerator:
    return SanaGenerator.load(Loading({"pipeline": folder}, device, dtype, batch_size, settings))


@pytest.fixture(scope="module")
def settings(tiny_suite: Suite) -> dict[str, object]:
    return dict(sampler_settings(tiny_suite.generator))


@pytest.fixture(scope="module")
def requests(settings: dict[str, object]) -> list[Request]:
    texts = ["a photo of a bench", "a photo of two clocks", "a photo of a bench", "a red cow"]
    return [Request(f"id{i}", text, ((40 + i, 1.0),), settings) for i, text in enumerate(texts)]  # type: ignore[arg-type]


class TestTinySana(GeneratorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def generator(cls, tiny_pipeline: Path) -> Generator:
        return load(tiny_pipeline)

    @pytest.fixture(scope="class")
    @classmethod
    def truncation(cls, tiny_pipeline: Path) -> Truncation | None:
        return SanaGenerator.truncation({"pipeline": tiny_pipeline})

    @pytest.fixture(scope="class")
    @classmethod
    def requests(cls, requests: list[Request]) -> list[Request]:
        return requests


@needs_gpu
class TestTinySanaOnAGpu(TestTinySana):
    @pytest.fixture(scope="class")
    @classmethod
    def generator(cls, tiny_pipeline: Path) -> Generator:
        return load(tiny_pipeline, device="cuda")

    def test_in_float32_it_makes_the_images_of_the_cpu(
        self, tiny_pipeline: Path, requests: list[Request]
    ) -> None:
        there = load(tiny_pipeline, device="cuda", dtype="float32").generate(requests)
        for one, other in zip(there, load(tiny_pipeline).generate(requests), strict=True):
            assert np.abs(one.image.astype(int) - other.image.astype(int)).max() <= 2


@pytest.fixture
def generator(tiny_pipeline: Path) -> SanaGenerator:
    return load(tiny_pipeline)


def test_it_is_what_the_registry_names(generator: SanaGenerator) -> None:
    assert GENERATORS.get("sana") is SanaGenerator
    assert isinstance(generator, Generator)


def test_without_feedback_it_agrees_with_the_official_reflect_dit() -> None:
    generator = load(GOLDEN / "pipeline")
    with safe_open(GOLDEN / "plain_case.safetensors", "pt") as case:
        facts = json.loads(case.metadata()["json"])
        latents, expected = case.get_tensor("case0.latents"), case.get_tensor("case0.image")
    settings = SanaSettings(
        num_inference_steps=facts["num_inference_steps"],
        guidance_scale=facts["guidance_scale"],
        height=facts["height"],
        width=facts["width"],
    )
    request = Request("id", facts["prompt"], ((0, 1.0),), {}, rows=1)
    image = generator._run([request], settings, {"latents": latents})[0]
    assert (image - expected).abs().max() < PARITY


def test_an_image_is_what_the_stock_pipeline_makes_of_the_same_noise(
    generator: SanaGenerator, requests: list[Request], settings: dict[str, object]
) -> None:
    options = SanaSettings(**settings)  # type: ignore[arg-type]
    stock = generator.pipeline(
        prompt=[request.text for request in requests],
        latents=torch.stack([noise_tensor(request.noise, (4, 8, 8)) for request in requests]),
        num_inference_steps=options.num_inference_steps,
        guidance_scale=options.guidance_scale,
        height=options.height,
        width=options.width,
        max_sequence_length=options.max_sequence_length,
        complex_human_instruction=None,
        use_resolution_binning=False,
        output_type="pil",
    ).images
    ours = [made.image for made in generator.generate(requests)]
    for image, expected in zip(ours, stock, strict=True):
        # Encoding four prompts at once moves the last bits, so a value may round the other way.
        difference = image.astype(int) - np.asarray(expected).astype(int)
        assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("instructed", [False, True])
def test_a_text_is_cut_where_the_stock_pipeline_cuts_it(
    generator: SanaGenerator, tiny_pipeline: Path, settings: dict[str, object], instructed: bool
) -> None:
    own = {**settings, "max_sequence_length": 8, "complex_human_instruction": instructed}
    truncation = SanaGenerator.truncation({"pipeline": tiny_pipeline})
    assert truncation is not None
    before = instruction() if instructed else None

    def embeds(text: str) -> torch.Tensor:
        embeds: torch.Tensor = generator._encode_now(text, 8, before)[0]
        return embeds

    cut = {}
    for words in range(1, 16):
        text = "Red " * words
        request = Request("id", text, ((0, 1.0),), own)  # type: ignore[arg-type]
        cut[words] = torch.equal(embeds(text), embeds(f"{text} cow"))
        assert ("text" in truncation(replace(request, text=f"{text} cow"))) == cut[words]
    fits = 6 if instructed else 7  # the pipeline takes two from beside its instruction, not one
    assert cut == {words: words >= fits for words in cut}
    longer = replace(request, settings={**request.settings, "max_sequence_length": 40})
    assert not truncation(longer)
    negative = {**own, "negative_prompt": "a " * 9}
    assert truncation(Request("id", "a cow", ((0, 1.0),), negative)) == ["negative_prompt"]  # type: ignore[arg-type]
    unguided = {**negative, "guidance_scale": 1.0}
    assert not truncation(Request("id", "a cow", ((0, 1.0),), unguided))  # type: ignore[arg-type]


def test_a_damaged_tokenizer_is_named_before_anything_is_loaded(
    tiny_pipeline: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_pipeline, tmp_path / "copy")
    (tmp_path / "copy" / "tokenizer" / "tokenizer.json").write_text("{")
    with pytest.raises(HarnessError, match="cannot load the tokenizer"):
        SanaGenerator.truncation({"pipeline": tmp_path / "copy"})


def test_a_prompt_is_encoded_once_and_charged_once(
    generator: SanaGenerator, requests: list[Request]
) -> None:
    first = [made.cost.flops for made in generator.generate(requests)]
    again = [made.cost.flops for made in generator.generate(requests)]
    assert len(set(again)) == 1
    paid = [now - later for now, later in zip(first, again, strict=True)]
    # Row 0 also pays for the empty prompt of guidance; row 2 repeats row 0's prompt.
    assert paid == [2 * paid[1], paid[1], 0, paid[1]] and paid[1] > 0


def test_forgotten_prompts_are_encoded_anew(
    tiny_pipeline: Path, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_generator, "PROMPTS", 1)
    generator = SanaGenerator(load(tiny_pipeline).pipeline, batch_size=1)
    images = [generator.generate([request])[0].image for request in requests]
    assert len(generator._prompts) == 2
    whole = [generator.generate([request])[0].image for request in requests]
    assert all(np.array_equal(a, b) for a, b in zip(images, whole, strict=True))


def test_guidance_doubles_the_evaluations(
    generator: SanaGenerator, requests: list[Request]
) -> None:
    plain = replace(requests[0], settings={**requests[0].settings, "guidance_scale": 1.0})
    longer = replace(requests[0], settings={**requests[0].settings, "num_inference_steps": 5})
    costs = [generator.generate([request])[0].cost for request in (requests[0], plain, longer)]
    assert [cost.nfe for cost in costs] == [4, 2, 10]


def test_the_evaluations_counted_are_those_made(
    generator: SanaGenerator, requests: list[Request]
) -> None:
    calls = []
    generator.pipeline.transformer.register_forward_hook(
        lambda _model, inputs, _output: calls.append(inputs[0].shape[0])
    )
    cost = generator.generate(requests)[0].cost
    assert sum(calls) == cost.nfe * generator.batch_size


def test_every_network_runs_at_one_batch_shape(
    generator: SanaGenerator, requests: list[Request]
) -> None:
    # Unpadded batches differ in bits that eight bits a channel rarely show.
    pipeline = generator.pipeline
    shapes: dict[str, set[tuple[int, ...]]] = {
        "transformer": set(),
        "text": set(),
        "decoder": set(),
    }
    for name, module in (
        ("transformer", pipeline.transformer),
        ("text", pipeline.text_encoder),
        ("decoder", pipeline.vae.decoder),
    ):
        module.register_forward_hook(
            lambda _m, inputs, _o, seen=shapes[name]: seen.add(tuple(inputs[0].shape))
        )
    for number in (1, 2, 3, 4):
        generator.generate(requests[:number])
    assert shapes == {"transformer": {(8, 4, 8, 8)}, "text": {(1, 12)}, "decoder": {(4, 4, 8, 8)}}


def test_before_rounding_too_a_row_is_bitwise_its_own(
    generator: SanaGenerator, requests: list[Request], settings: dict[str, object]
) -> None:
    options = SanaSettings(**settings)  # type: ignore[arg-type]

    def pixels(rows: list[Request]) -> torch.Tensor:
        return generator._run(rows, options, {})[0]

    whole, backwards = pixels(requests), pixels(requests[::-1])
    assert torch.equal(whole, backwards.flip(0))
    assert torch.equal(whole[1], pixels([requests[1]] * 4)[2])


def test_flops_counted_without_weights_are_those_of_the_real_modules(
    generator: SanaGenerator, requests: list[Request]
) -> None:
    from harness import flops

    generator.generate(requests)
    charged = sum(made.cost.flops for made in generator.generate(requests))
    assert flops.count(lambda: generator.generate(requests)) == charged


def test_settings_of_the_suite_need_not_be_repeated(
    tiny_pipeline: Path, tiny_suite: Suite, requests: list[Request]
) -> None:
    generator = load(tiny_pipeline, **tiny_suite.generator.settings)
    bare = replace(requests[0], settings={})
    assert np.array_equal(
        generator.generate([bare])[0].image, load(tiny_pipeline).generate(requests[:1])[0].image
    )


def test_nan_stops_the_batch(generator: SanaGenerator, requests: list[Request]) -> None:
    with torch.no_grad():
        generator.pipeline.transformer.proj_out.weight.fill_(math.nan)
    with pytest.raises(BadAnswer, match="NaN") as caught:
        generator.generate(requests)
    assert caught.value.failure is Failure.NAN_IMAGE and "another dtype" in caught.value.hint


def test_feedback_is_refused(generator: SanaGenerator, requests: list[Request]) -> None:
    feedback = (Feedback("id", "There is no knife in image."),)
    images = {"id": np.zeros((32, 32, 3), np.uint8)}
    with pytest.raises(HarnessError, match="takes no feedback"):
        generator.generate([replace(requests[0], feedback=feedback, images=images)])


def test_too_many_requests_are_refused(generator: SanaGenerator, requests: list[Request]) -> None:
    with pytest.raises(HarnessError, match="batch size"):
        generator.generate([*requests, requests[0]])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"num_inference_step": 3}, "num_inference_step"),
        ({"num_inference_steps": 0}, "greater than 0"),
        ({"num_inference_steps": "many"}, "valid integer"),
        ({"guidance_scale": math.inf}, "finite"),
        ({"height": 40}, "multiple of 32"),
        ({"complex_human_instruction": "perhaps"}, "valid boolean"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_loaded(
    bad: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load(Path("/nowhere"), **bad)


def test_a_misspelt_setting_is_answered_with_the_right_one() -> None:
    with pytest.raises(UsageError) as caught:
        load(Path("/nowhere"), guidance=4.5)
    assert "did you mean 'guidance_scale'" in caught.value.hint


def test_an_unknown_device_is_refused(tiny_pipeline: Path) -> None:
    for device in ("gpu7", "cuda:99"):
        with pytest.raises(UsageError, match=device):
            SanaGenerator.load(Loading({"pipeline": tiny_pipeline}, device))
