"""Every family of diffusers' text-to-image pipelines, small and random, and what the docs say."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.abilities import abilities_of
from harness.errors import BadAnswer, Failure, HarnessError, UsageError
from harness.models.checkpoints import is_pipeline
from harness.models.diffusers_loading import settings_class
from harness.models.diffusers_pipeline import DiffusersGenerator
from harness.models.loading import quiet
from harness.models.suites import load_suite, sampler_settings
from harness.plan import Ask, plan
from harness.records import Ability, Feedback, Image, Loading, Request
from harness.registry import GENERATORS
from harness.testing import GeneratorContract
from tests.terminal import Terminal
from tests.tiny_pipelines import FAMILIES, make_family

DOCS = Path(__file__).parents[2] / "docs" / "generators.md"
TEXTS = ["a photo of a bench", "a photo of two cows", "a red car and a dog left of a large cat"]


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("families")

    @cache
    def folder(name: str) -> Path:
        return make_family(name, root / name.replace(" ", "-").lower())

    return folder


def loaded(folder: Path, name: str, batch_size: int = 3, **changes: Any) -> DiffusersGenerator:
    settings = {**FAMILIES[name][1], "num_inference_steps": 2, **changes}
    return DiffusersGenerator.load(
        Loading({"pipeline": folder}, batch_size=batch_size, settings=settings)
    )


@pytest.fixture(scope="session")
def ready(families: Any) -> Any:
    """Each family's generator, loaded once; it has encoded no text."""
    load = cache(lambda name: loaded(families(name), name))

    def forgetful(name: str) -> DiffusersGenerator:
        load(name).forget()
        return load(name)

    return forgetful


def asked(*texts: str) -> list[Request]:
    return [Request(f"id{n}", text, ((n, 1.0),), {}) for n, text in enumerate(texts)]


def images(generator: DiffusersGenerator, requests: list[Request]) -> list[Image]:
    return [made.image for made in generator.generate(requests)]


def differs(one: list[Image], other: list[Image]) -> bool:
    return not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_what_the_docs_say(ready: Any, name: str) -> None:
    generator, requests = ready(name), asked(*TEXTS)
    made = generator.generate(requests)
    together = [each.image for each in made]
    assert len({image.tobytes() for image in together}) == 3
    assert together[0].shape == (32, 32, 3)
    assert not differs(together, [images(generator, [request])[0] for request in requests])
    assert not differs(together[::-1], images(generator, requests[::-1]))
    assert all(each.cost.nfe is not None and each.cost.nfe >= 2 for each in made)
    with DOCS.open(encoding="utf-8") as file:
        [row] = [line.strip() for line in file if line.startswith(f"| {name} |")]
    counted = "counted" if made[0].cost.flops else "not counted"
    partial = "yes" if Ability.PARTIAL in generator.abilities else "no"
    names = ", ".join(f"`{n}`" for n in generator.settings_type.__dataclass_fields__)  # type: ignore[attr-defined]
    pipeline = type(generator.pipeline).__name__
    expected = f"| {name} | `{pipeline}` | {generator.sharing} | {counted} | {partial} | {names} |"
    assert row == expected


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_is_what_the_stock_pipeline_makes_of_its_seed(families: Any, name: str) -> None:
    from diffusers import DiffusionPipeline

    folder = families(name)
    [image] = images(loaded(folder, name, batch_size=1), [Request("x", TEXTS[1], ((7, 1.0),), {})])
    with quiet():
        stock: Any = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    expected = stock(
        TEXTS[1],
        generator=torch.Generator().manual_seed(7),
        output_type="pt",
        num_inference_steps=2,
        **FAMILIES[name][1],
    ).images[0]
    pixels = (expected.permute(1, 2, 0).float().clamp(0, 1).numpy() * 255).round().astype(np.uint8)
    assert np.array_equal(image, pixels)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", FAMILIES)
def test_stopped_and_continued_equals_the_whole(ready: Any, name: str) -> None:
    steps = 2 if name == "SANA-Sprint" else 3
    generator = ready(name)
    requests = [replace(r, settings={"num_inference_steps": steps}) for r in asked(*TEXTS)]
    if Ability.PARTIAL not in generator.abilities:
        with pytest.raises(HarnessError, match="cannot stop before its last step"):
            generator.generate([replace(requests[0], stop=1)])
        return
    whole = generator.generate(requests)
    for step in range(1, steps):
        starts = [replace(request, stop=step) for request in requests]
        previews = generator.generate(starts)
        assert [made.cost.nfe for made in previews] == [whole[0].cost.nfe * step // steps] * 3
        assert step > 1 or differs([previews[0].image], [whole[0].image])
        rest = [
            replace(request, start=start, state=made.state)
            for request, start, made in zip(requests, starts, previews, strict=True)
        ]
        assert not differs(images(generator, rest[::-1])[::-1], [made.image for made in whole])
        apart = images(
            generator,
            [replace(r, renoise=0) for r in (rest[0], replace(rest[0], noise=((9, 1.0),)))],
        )
        assert differs(apart[:1], apart[1:])


@pytest.mark.sampled(2)
@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_what_a_draw_takes_is_known_without_weights(families: Any, ready: Any, name: str) -> None:
    folder = families(name)
    settings = {**FAMILIES[name][1], "num_inference_steps": 2}
    cost_of = DiffusersGenerator.expected_cost(Loading({"pipeline": folder}, settings=settings))
    assert cost_of is not None
    requests = [replace(r, settings=settings) for r in asked(*TEXTS)]
    made = ready(name).generate(requests)
    again = ready(name).generate(requests[1:2])
    for request, answer in zip(requests, [made[0], again[0], made[2]], strict=True):
        expected = cost_of(request)
        least = expected.nfe * expected.evaluation + expected.decoding
        assert expected.complete and answer.cost.nfe == expected.nfe
        assert answer.cost.flops in {least + sum(expected.once[:n]) for n in range(3)}
    assert cost_of(replace(requests[0], stop=1)).nfe == made[0].cost.nfe // 2


@pytest.mark.parametrize("setting", [{"cfg_trunc_ratio": 0.5}, {"denoising_end": 0.5}])
def test_settings_that_count_steps_themselves_keep_a_draw_whole(
    families: Any, setting: dict[str, float]
) -> None:
    name = "SDXL" if "denoising_end" in setting else "Lumina 2"
    [request] = asked(TEXTS[0])
    with pytest.raises(HarnessError, match=r"=0\.5 cannot stop before its last step"):
        loaded(families(name), name, **setting).generate([replace(request, stop=1)])


def test_a_strategy_that_stops_draws_is_refused_where_the_solver_cannot(families: Any) -> None:
    with pytest.raises(UsageError, match=r"'diffusers' does not take with this checkpoint"):
        plan(Ask(model=str(families("SD 1.5")), strategy="prune"))
    suite = load_suite(str(families("SDXL")))
    assert abilities_of(suite.generator) == {Ability.PARTIAL}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_whole_run(harness: Terminal, families: Any, name: str) -> None:
    Path("p.txt").write_text("a photo of a cat\na red car\n")
    settings = {**FAMILIES[name][1], "num_inference_steps": 2}
    given = [word for pair in settings.items() for word in ("-G", "{}={}".format(*pair))]
    assert not harness(
        "run", "--model", families(name), "--benchmark", "prompt-file", "-B", "path=p.txt",
        "--strategy", "single", "--budget", "1", "--judge", "none", "--threads", "1",
        "--out", "r", *given,
    )  # fmt: skip
    assert "searches  2 of 2, 0 failed" in harness.out + harness.err


@pytest.mark.slow
# Qwen-Image counts on its template having 34 tokens, which it has in its own tokenizer's only; in
# FLUX.1 the longest text is CLIP's, whose pooled vector moves a tiny model's pixels too little.
@pytest.mark.parametrize(
    "name", [name for name in FAMILIES if name != "Qwen-Image" and not name.startswith("FLUX")]
)
def test_a_text_is_cut_where_nothing_reads_the_rest(families: Any, ready: Any, name: str) -> None:
    truncation = DiffusersGenerator.truncation({"pipeline": families(name)})
    generator = ready(name)
    defaults = {f.name: f.default for f in fields(generator.settings_type)}
    settings = {**defaults, **FAMILIES[name][1], "num_inference_steps": 2}

    def cuts(text: str) -> bool:
        return "text" in truncation(Request("x", text, ((0, 1.0),), settings))

    words = next(n for n in range(1, 400) if cuts("a " * n))
    half = words // 2
    # Half of the text, since one word of many hardly moves a tiny model's pixels.
    fits, other = "a " * (words - 1), "a " * half + "cow " * (words - 1 - half)
    cut, same = "a " * words + "red", "a " * words + "cow"
    assert differs(images(generator, asked(fits)), images(generator, asked(other)))
    assert not differs(images(generator, asked(cut)), images(generator, asked(same)))


class TestTinyPipeline(GeneratorContract):
    @pytest.fixture(scope="class")
    def truncation(self, families: Any) -> Any:
        return DiffusersGenerator.truncation({"pipeline": families("SDXL")})

    @pytest.fixture(scope="class")
    def generator(self, families: Any) -> DiffusersGenerator:
        return loaded(families("SDXL"), "SDXL")

    @pytest.fixture(scope="class")
    def requests(self) -> list[Request]:
        return [replace(each, settings={"num_inference_steps": 2}) for each in asked(*TEXTS)]


@pytest.fixture
def generator(families: Any) -> DiffusersGenerator:
    return loaded(families("SD 3.5"), "SD 3.5")


def test_it_is_what_the_registry_names() -> None:
    assert GENERATORS.get("diffusers") is DiffusersGenerator


def test_turned_noise_is_between_two_noises(generator: DiffusersGenerator) -> None:
    one = Request("a", TEXTS[0], ((1, 1.0),), {})
    turned = replace(one, noise=((1, 1.0), (2, 0.0)))
    half = replace(one, noise=((1, 1.0), (2, 0.6)))
    same = replace(one, noise=((1, 1.0), (2, 1.0)))
    other = replace(one, noise=((2, 1.0),))
    made = images(generator, [one, turned, half])
    assert np.array_equal(made[0], images(generator, [same])[0])
    assert np.array_equal(made[1], images(generator, [other])[0])
    assert len({image.tobytes() for image in made}) == 3


def test_a_prompt_is_encoded_once_and_paid_for_once(generator: DiffusersGenerator) -> None:
    requests = asked(TEXTS[0], TEXTS[0], TEXTS[1])
    first, second, third = (made.cost for made in generator.generate(requests))
    again = [made.cost for made in generator.generate(requests)]
    assert first.flops == third.flops and second.flops == again[0].flops == again[2].flops
    assert first.flops is not None and second.flops is not None and first.flops > second.flops
    generator.forget()
    assert generator.generate(requests)[0].cost == first


def test_an_unlisted_pipeline_s_rows_run_alone(generator: DiffusersGenerator) -> None:
    generator.sharing = "alone"
    assert [made.cost.rows for made in generator.generate(asked(*TEXTS))] == [1, 1, 1]


def test_settings_are_the_pipeline_s_own(families: Any) -> None:
    folder = families("SDXL")
    fields = settings_class(folder).__dataclass_fields__  # type: ignore[attr-defined]
    assert {"guidance_scale", "guidance_rescale", "negative_prompt", "eta"} <= fields.keys()
    assert not {"prompt", "latents", "generator", "output_type", "callback"} & fields.keys()
    suite = load_suite(str(folder))
    assert suite.generator.kind == "diffusers" and suite.judge.kind == "none"
    settings = sampler_settings(suite.generator, {"guidance_scale": "3.5"})
    assert (settings["height"], settings["guidance_scale"]) == (32, 3.5)
    with pytest.raises(UsageError) as caught:
        sampler_settings(suite.generator, {"guidance": "3.5"})
    assert "did you mean 'guidance_" in caught.value.hint
    for bad in ({"height": "a"}, {"height": "-1"}, {"num_inference_steps": "0"}, {"eta": "inf"}):
        with pytest.raises(UsageError, match="cannot take"):
            sampler_settings(suite.generator, bad)


def test_a_value_that_the_pipeline_refuses_is_one_sentence(families: Any) -> None:
    with pytest.raises(HarnessError, match="StableDiffusion3Pipeline refuses these settings"):
        loaded(families("SD 3.5"), "SD 3.5", height=33).generate(asked(TEXTS[0]))


def test_feedback_is_refused(generator: DiffusersGenerator) -> None:
    request = replace(asked(TEXTS[0])[0], feedback=(Feedback("x", "no cat"),))
    with pytest.raises(HarnessError, match="takes no feedback"):
        generator.generate([request])


def test_numbers_that_are_none_stop_the_batch(generator: DiffusersGenerator) -> None:
    with torch.no_grad():
        generator.pipeline.vae.decoder.conv_out.weight.fill_(float("inf"))
    with pytest.raises(BadAnswer, match="NaN or infinite") as caught:
        generator.generate(asked(TEXTS[0]))
    assert caught.value.failure is Failure.NAN_IMAGE


def edited(folder: Path, to: Path, **changes: Any) -> Path:
    shutil.copytree(folder, to)
    index = json.loads((to / "model_index.json").read_text())
    (to / "model_index.json").write_text(json.dumps({**index, **changes}))
    return to


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"_class_name": ["my_pipeline", "Mine"]}, "code of its own"),
        ({"_class_name": "NoSuchPipeline"}, "does not have"),
        ({"_class_name": "AutoencoderKL"}, "does not have"),
        ({"_class_name": "StableDiffusionImg2ImgPipeline"}, "texts alone"),
        ({"scheduler": ["my_module", "Mine"]}, "as its scheduler"),
        ({"scheduler": ["diffusers", "no_such"]}, "as its scheduler"),
        ({"scheduler": ["os", "system"]}, "as its scheduler"),
        ({"scheduler": ["diffusers", {"a": 1}]}, "as its scheduler"),
        ({"scheduler": [["diffusers"], "DDIMScheduler"]}, "as its scheduler"),
        ({"scheduler": ["diffusers", "utils"]}, "as its scheduler"),
        ({"scheduler": ["diffusers", "DiffusionPipeline"]}, "as its scheduler"),
        ({"tokenizer": ["transformers", "AutoModel"]}, "as its tokenizer"),
        ({"tokenizer": ["transformers", "pipeline"]}, "as its tokenizer"),
        ({"tokenizer": ["transformers"]}, "as its tokenizer"),
        ({"transformer": ["diffusers", "FluxTransformer2DModel"]}, "fields .* does not know"),
    ],
)
def test_what_is_no_pipeline_of_diffusers_own_is_refused(
    families: Any, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    folder = edited(families("SD 3.5"), tmp_path / "p", **changes)
    with pytest.raises(HarnessError, match=says):
        DiffusersGenerator.load(Loading({"pipeline": folder}))


def test_parts_that_the_pipeline_does_not_take_are_not_looked_at(
    families: Any, tmp_path: Path
) -> None:
    outside = {"../outside": ["diffusers", "AutoencoderKL"], "/etc": ["diffusers", "AutoencoderKL"]}
    folder = edited(families("SD 3.5"), tmp_path / "p", **outside)
    shutil.copytree(folder / "vae", tmp_path / "outside")
    generator = DiffusersGenerator.load(Loading({"pipeline": folder}))
    assert not outside.keys() & generator.pipeline.components.keys()


def test_code_beside_a_part_is_not_run(families: Any, tmp_path: Path) -> None:
    folder = edited(families("SD 3.5"), tmp_path / "p")
    (folder / "tokenizer" / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    file = folder / "tokenizer" / "tokenizer_config.json"
    own = {"auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}, "tokenizer_class": "Own"}
    file.write_text(json.dumps({**json.loads(file.read_text()), **own}))
    with contextlib.suppress(HarnessError):
        DiffusersGenerator.load(Loading({"pipeline": folder}))
    assert not (tmp_path / "ran").exists()


def test_pickled_missing_and_damaged_weights_are_refused(families: Any, tmp_path: Path) -> None:
    weights = "transformer/diffusion_pytorch_model.safetensors"
    folder = edited(families("SD 3.5"), tmp_path / "p")
    (folder / weights).write_bytes((folder / weights).read_bytes()[:100])
    with pytest.raises(HarnessError, match="cannot load the transformer"):
        DiffusersGenerator.load(Loading({"pipeline": folder}))
    (folder / weights).rename(folder / "transformer/diffusion_pytorch_model.bin")
    with pytest.raises(HarnessError, match=r"cannot load the transformer|only pickled"):
        DiffusersGenerator.load(Loading({"pipeline": folder}))
    with pytest.raises(HarnessError, match=r"no model_index\.json"):
        DiffusersGenerator.load(Loading({"pipeline": folder / "vae"}))
    with pytest.raises(UsageError, match="needs a checkpoint named 'pipeline'"):
        DiffusersGenerator.load(Loading())


@pytest.mark.parametrize(
    ("word", "is_one"),
    [
        ("stabilityai/stable-diffusion-xl-base-1.0", True),
        ("org/name@main", True),
        ("miniature", False),
        ("tests.stubs:Suite", False),
        ("./missing/folder", False),
        ("tests", False),
    ],
)
def test_what_names_a_pipeline(word: str, is_one: bool) -> None:
    assert is_pipeline(word) is is_one
