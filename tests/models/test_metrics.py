"""Metrics against computations of their own, on small checkpoints with random weights."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file, save_file
from torch.nn import functional

from benchmarks.geneval.benchmark import GenEval
from benchmarks.geneval.confidence import ObjectConfidence, confidence
from benchmarks.geneval.detectors.base import Detections
from benchmarks.prompt_file import PromptFile
from benchmarks.vqa.vqa_score import QUESTION, VQAScore
from harness.errors import BadAnswer, HarnessError, UsageError
from harness.models.judges.ensemble import EnsembleJudge
from harness.models.judges.metric import MetricJudge
from harness.models.metrics.aesthetic import Aesthetic
from harness.models.metrics.agreement import Agreement, ClipScore, PickScore, SiglipScore
from harness.models.metrics.together import check
from harness.models.vlm_loading import load_vlm
from harness.records import Cost, Image, Loading, Look, Prompt, Setting, Verdict
from harness.registry import METRICS
from harness.testing.looks import JudgeContract, MetricContract
from tests.models.tiny_vlm import make_llava, make_qwen
from tests.tiny import make_colors, make_detector

TEXTS = ("a red cat", "two dogs", "a photo of a bench", "x", "a red cat")


def next_token(model: Any, processor: Any, look: Look, question: str) -> tuple[torch.Tensor, int]:
    """Probabilities of an answer's first token by a forward pass, and the question's tokens."""
    content = [
        {"type": "image", "image": Pillow.fromarray(look.image)},
        {"type": "text", "text": question.replace("{prompt}", look.prompt.text)},
    ]
    inputs = processor.apply_chat_template(
        [[{"role": "user", "content": content}]], add_generation_prompt=True,
        tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    with torch.no_grad():
        chances = model(**inputs).logits[0, -1].softmax(-1)
    return chances, inputs["input_ids"].numel()


def looks() -> list[Look]:
    """Images of several sizes, the last one for the same prompt as the first."""
    random = np.random.default_rng(0)
    sizes = [(20, 30), (16, 16), (33, 17), (64, 64), (20, 30)]
    return [
        Look(Prompt(str(n), text), random.integers(0, 256, (*size, 3), np.uint8))
        for n, (text, size) in enumerate(zip(TEXTS, sizes, strict=True))
    ]


def make_clip(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # cosines on both sides of zero
        make_colors(folder)
    return folder


def make_siglip(folder: Path) -> Path:
    """A SigLIP of 16x16 pixels that reads letters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        SiglipConfig,
        SiglipModel,
        SiglipTextConfig,
        SiglipVisionConfig,
    )

    letters = ["<pad>", "<unk>", *"abcdefghijklmnopqrstuvwxyz "]
    tokenizer = Tokenizer(models.WordLevel({c: n for n, c in enumerate(letters)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    sizes = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }  # fmt: skip
    text = SiglipTextConfig(vocab_size=40, max_position_embeddings=24, **sizes)
    vision = SiglipVisionConfig(image_size=16, patch_size=8, **sizes)
    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig(text_config=text.to_dict(), vision_config=vision.to_dict()))
    with torch.no_grad():  # the library starts both at random, and the scale far from a trained one
        model.logit_scale.fill_(1.5)
        model.logit_bias.fill_(-0.5)
    model.save_pretrained(folder)
    settings = {
        "image_processor_type": "SiglipImageProcessor", "do_resize": True, "do_rescale": True,
        "do_normalize": True, "size": {"height": 16, "width": 16}, "resample": 3,
        "rescale_factor": 1 / 255, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def make_head(folder: Path, widths: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Linear layers as the published heads store them: one bare, or several by number."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(1)
    numbers = (0, 2, 4, 6, 7)
    layers: dict[str, torch.Tensor] = {}
    for number, (size, out) in enumerate(itertools.pairwise(widths)):
        name = f"layers.{numbers[number]}." if len(widths) > 2 else ""
        layers[f"{name}weight"] = torch.randn(out, size, generator=generator)
        layers[f"{name}bias"] = torch.randn(out, generator=generator)
    save_file(layers, folder / "model.safetensors")
    return layers


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_siglip(tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads") / "head"
    make_head(folder, (16, 12, 8, 6, 4, 1))
    return folder


def clip_pixels(image: Image) -> torch.Tensor:
    """CLIP's preparation of an image, written out: shorter side to 16, middle, normalised."""
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    picture = Pillow.fromarray(image)
    scale = 16 / min(picture.size)
    picture = picture.resize(
        (int(picture.width * scale), int(picture.height * scale)), Pillow.Resampling.BICUBIC
    )
    left, top = (picture.width - 16) // 2, (picture.height - 16) // 2
    part = np.asarray(picture.crop((left, top, left + 16, top + 16)), np.float32) / 255
    normal = (part - np.array(mean, np.float32)) / np.array(std, np.float32)
    return torch.from_numpy(normal.transpose(2, 0, 1))[None]


def clip_cosines(folder: Path, texts: list[str]) -> tuple[list[float], float]:
    """Cosines by the library's own joint forward pass, a row at a time, and the learned scale."""
    from transformers import CLIPModel, CLIPTokenizer

    model, tokenizer = CLIPModel.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)
    cosines = []
    for look, text in zip(looks(), texts, strict=True):
        tokens = tokenizer([text], truncation=True, return_tensors="pt",
                           max_length=model.config.text_config.max_position_embeddings)  # fmt: skip
        with torch.no_grad():
            out = model(**tokens, pixel_values=clip_pixels(look.image))
        cosines.append(float(functional.cosine_similarity(out.text_embeds, out.image_embeds)))
    return cosines, float(model.logit_scale.detach().exp())


def load(kind: Callable[..., Any], folder: Path, **settings: Setting) -> Any:
    return kind.load(Loading({"model": folder}, batch_size=3, settings=settings))  # type: ignore[attr-defined]


class TestClipScore(MetricContract):
    @pytest.fixture(scope="class")
    def metric(self, clip: Path) -> ClipScore:
        # Random weights are as often below zero as above, and those all measure 0.
        metric = load(ClipScore, clip)
        return metric  # type: ignore[no-any-return]

    @pytest.fixture(scope="class")
    def looks(self) -> list[Look]:
        return looks()


class TestSiglipScore(MetricContract):
    @pytest.fixture(scope="class")
    def metric(self, siglip: Path) -> SiglipScore:
        return load(SiglipScore, siglip)  # type: ignore[no-any-return]

    @pytest.fixture(scope="class")
    def looks(self) -> list[Look]:
        return looks()


class TestAesthetic(MetricContract):
    @pytest.fixture(scope="class")
    def metric(self, clip: Path, head: Path) -> Aesthetic:
        return Aesthetic.load(Loading({"model": clip, "head": head}, batch_size=3))

    @pytest.fixture(scope="class")
    def looks(self) -> list[Look]:
        return looks()


class TestObjectConfidence(MetricContract):
    @pytest.fixture(scope="class")
    def metric(self, tmp_path_factory: pytest.TempPathFactory) -> ObjectConfidence:
        folder = tmp_path_factory.mktemp("detector")
        make_detector(folder)
        return ObjectConfidence.load(Loading({"detector": folder}, batch_size=2))

    @pytest.fixture(scope="class")
    def looks(self, metric: ObjectConfidence) -> list[Look]:
        """Prompts for what the detector sees in two of the images, and for what it does not."""
        images = [look.image for look in looks()]
        seen = [result.labels[0] for result in metric.detector.detect(images[:2])]
        return [
            Look(Prompt(str(n), label, "single_object", {
                "tag": "single_object", "prompt": label, "include": [{"class": label, "count": 1}]
            }), image)
            for n, (label, image) in enumerate(zip([*seen, seen[0]], images, strict=False))
        ]  # fmt: skip


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    make_qwen(folder)
    return folder


class TestVQAScore(MetricContract):
    @pytest.fixture(scope="class")
    def metric(self, qwen: Path) -> VQAScore:
        return load(VQAScore, qwen)  # type: ignore[no-any-return]

    @pytest.fixture(scope="class")
    def looks(self) -> list[Look]:
        return looks()


class TestMetricJudge(JudgeContract):
    @pytest.fixture(scope="class")
    def judge(self, clip: Path) -> MetricJudge:
        settings: dict[str, Setting] = {"name": "pick-score", "accept": 0.0}
        loading = Loading({"model": clip, "processor": clip}, batch_size=3, settings=settings)
        return MetricJudge.load(loading, GenEval())

    @pytest.fixture(scope="class")
    def pairs(self) -> list[tuple[Prompt, Image]]:
        return [(look.prompt, look.image) for look in looks()[:3]]


class TestEnsembleJudge(JudgeContract):
    @pytest.fixture(scope="class")
    def judge(self, clip: Path, siglip: Path) -> EnsembleJudge:
        settings = {"members": "clip-score,siglip-score", "rule": "minimum",
                    "accept": "clip-score:0.1,siglip-score:0.3",
                    "spread": "clip-score:0.1,siglip-score:0.1"}  # fmt: skip
        return ensemble(clip, siglip, settings)

    @pytest.fixture(scope="class")
    def pairs(self) -> list[tuple[Prompt, Image]]:
        return [(look.prompt, look.image) for look in looks()[:4]]


def ensemble(clip: Path, siglip: Path, settings: dict[str, Setting]) -> EnsembleJudge:
    parts = {"clip-score.model": clip, "siglip-score.model": siglip}
    return EnsembleJudge.load(Loading(parts, "cpu", "float32", 4, settings), GenEval())


@pytest.mark.parametrize("rule", ["vote", "minimum", "mean-rank"])
def test_members_of_an_ensemble_decide_on_their_own_scales(
    clip: Path, siglip: Path, rule: str
) -> None:
    measured = [values(load(ClipScore, clip)), values(load(SiglipScore, siglip))]
    accept = [sorted(each)[2] for each in measured]
    text = f"clip-score:{accept[0]!r},siglip-score:{accept[1]!r}"
    settings: dict[str, Setting] = {"members": "clip-score,siglip-score", "rule": rule}
    settings |= {"accept": text}
    settings |= {"spread": "clip-score:0.5,siglip-score:0.001"} if rule == "minimum" else {}
    judge = ensemble(clip, siglip, settings)
    prompts, images = zip(*((look.prompt, look.image) for look in looks()), strict=True)
    verdicts = [verdict for verdict, _ in judge.judge(prompts, images, range(5))]
    margins = [
        [v - a for v, a in zip(pair, accept, strict=True)] for pair in zip(*measured, strict=True)
    ]
    assert [v.accepted for v in verdicts] == [min(pair) >= 0 for pair in margins]
    members = list(zip(*measured, strict=True)) if rule == "mean-rank" else [()] * 5
    assert [v.members for v in verdicts] == [pytest.approx(each, abs=1e-6) for each in members]
    if rule != "minimum":
        assert [v.score for v in verdicts] == [sum(m >= 0 for m in p) / 2 for p in margins]
    else:
        scores = [min(pair[0] / 0.5, pair[1] / 0.001) for pair in margins]
        assert [v.score for v in verdicts] == pytest.approx(scores, rel=1e-3)


def test_a_member_without_a_number_is_no_vote(clip: Path, siglip: Path) -> None:
    settings: dict[str, Setting] = {"members": "clip-score,siglip-score"}
    judge = ensemble(clip, siglip, settings | {"accept": "clip-score:0,siglip-score:0"})
    member = judge.metrics.metrics["clip-score"]
    member.measure = lambda looks: [(float("nan"), Cost())] * len(looks)  # type: ignore[method-assign]
    with pytest.raises(BadAnswer, match="'clip-score' gave nan"):
        judge.judge([looks()[0].prompt], [looks()[0].image], [0])


def values(metric: Agreement | Aesthetic | VQAScore) -> list[float]:
    return [value for value, _ in metric.measure(looks())]


def test_clip_score_is_the_weighted_cosine_from_zero_on(clip: Path) -> None:
    cosines, _ = clip_cosines(clip, list(TEXTS))
    assert min(cosines) < 0 < max(cosines)
    assert values(load(ClipScore, clip)) == pytest.approx([max(c, 0.0) for c in cosines], abs=2e-6)
    prefixed, _ = clip_cosines(clip, [f"A photo depicts {text}" for text in TEXTS])
    weighted = load(ClipScore, clip, weight=2.5, prefix="A photo depicts ")
    assert values(weighted) == pytest.approx([2.5 * max(c, 0.0) for c in prefixed], abs=5e-6)


def test_pick_score_is_the_scaled_cosine(clip: Path, tmp_path: Path) -> None:
    """Its weights come without tokenizer and image settings, which lie in another folder."""
    bare = tmp_path / "model"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((clip / name).read_bytes())
    metric = PickScore.load(Loading({"model": bare, "processor": clip}, batch_size=3))
    cosines, scale = clip_cosines(clip, list(TEXTS))
    assert values(metric) == pytest.approx([scale * c for c in cosines], abs=2e-5)
    with pytest.raises(HarnessError, match=r"no preprocessor_config\.json"):
        PickScore.load(Loading({"model": bare}, batch_size=3))


def test_siglip_score_is_the_library_s_own_probability(siglip: Path) -> None:
    from transformers import SiglipModel

    model = SiglipModel.from_pretrained(siglip)
    alphabet = ["<pad>", "<unk>", *"abcdefghijklmnopqrstuvwxyz "]
    expected = []
    for look in looks():
        tokens = [alphabet.index(letter) for letter in look.prompt.text][:24]
        tokens += [0] * (24 - len(tokens))
        picture = Pillow.fromarray(look.image).resize((16, 16), Pillow.Resampling.BICUBIC)
        pixels = (np.asarray(picture, np.float32).transpose(2, 0, 1) / 255 - 0.5) / 0.5
        with torch.no_grad():
            out = model(
                input_ids=torch.tensor([tokens]), pixel_values=torch.from_numpy(pixels)[None]
            )
        expected.append(float(out.logits_per_image.sigmoid()))
    assert values(load(SiglipScore, siglip)) == pytest.approx(expected, abs=1e-5)


def test_vqa_score_is_the_probability_that_a_whole_pass_gives_to_yes(qwen: Path) -> None:
    model, processor = load_vlm(Loading({"model": qwen}))
    encode = processor.tokenizer.encode
    spelt = ("Yes", "yes", " Yes", " yes")
    first = {encode(spelling, add_special_tokens=False)[0] for spelling in spelt}
    first = {token for token in first if processor.tokenizer.decode([token]).strip()}
    for question in ("Is it {prompt}?", QUESTION):
        expected = []
        for look in looks():
            chances, _ = next_token(model, processor, look, question)
            expected.append(float(chances[sorted(first)].sum()))
        assert len(set(expected)) == 5
        metric = load(VQAScore, qwen, question=question)
        assert values(metric) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(UsageError, match="does not mention"):
        check("vqa-score", {"model": ""}, {"question": "Is it good?"}, GenEval())


def test_vqa_score_asks_other_families_too(tmp_path: Path) -> None:
    make_llava(tmp_path)
    metric, (one, *others) = load(VQAScore, tmp_path), looks()
    rows = metric.measure([one, *others])
    model, processor = load_vlm(Loading({"model": tmp_path}))
    for look, (value, cost) in zip([one, *others], rows, strict=True):
        chances, tokens = next_token(model, processor, look, QUESTION)
        # Its few words have none for Yes: all four spellings are the unknown word, counted once.
        unknown = processor.tokenizer.unk_token_id
        assert value == pytest.approx(float(chances[unknown]), rel=1e-5) and value > 0
        assert (cost.flops, cost.tokens) == (None, tokens)
    assert metric.measure(others) == rows[1:]


@pytest.mark.parametrize("widths", [(16, 1), (16, 12, 8, 6, 4, 1)])
def test_an_aesthetic_rating_is_its_layers_over_the_embedding_of_length_1(
    clip: Path, tmp_path: Path, widths: tuple[int, ...]
) -> None:
    from transformers import CLIPVisionModelWithProjection

    layers = make_head(tmp_path / "head", widths)
    sequence = torch.nn.Sequential(*(torch.nn.Linear(a, b) for a, b in itertools.pairwise(widths)))
    for module, weight, bias in zip(
        sequence, list(layers.values())[::2], list(layers.values())[1::2], strict=True
    ):
        module.load_state_dict({"weight": weight, "bias": bias})
    model = CLIPVisionModelWithProjection.from_pretrained(clip)
    metric = Aesthetic.load(Loading({"model": clip, "head": tmp_path / "head"}, batch_size=3))
    with torch.no_grad():
        expected = [
            float(sequence(functional.normalize(model(clip_pixels(look.image)).image_embeds)))
            for look in looks()
        ]
    assert values(metric) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"weight": (1, 15), "bias": (1,)}, r"layer 0 takes and gives \(1, 15\), where 16"),
        ({"weight": (2, 16), "bias": (2,)}, "gives 2 numbers"),
        ({"weight": (1, 16)}, r"layer 0 takes and gives \(1, 16\)"),
        ({"bias": (1,)}, "layer 0 takes and gives None"),
        ({"layers.0.weight": (4, 16), "layers.0.bias": (4,), "layers.2.weight": (1, 3),
          "layers.2.bias": (1,)}, "layer 2"),
        ({"weight": (1, 16), "bias": (1,), "ema.weight": (1, 16)}, "holds ema.weight"),
        ({}, "gives 16 numbers"),
    ],
)  # fmt: skip
def test_a_head_leads_from_the_embedding_to_one_number(
    clip: Path, tmp_path: Path, stored: dict[str, tuple[int, ...]], message: str
) -> None:
    save_file({k: torch.zeros(v) for k, v in stored.items()}, tmp_path / "model.safetensors")
    with pytest.raises(HarnessError, match=message) as caught:
        Aesthetic.load(Loading({"model": clip, "head": tmp_path}))
    assert "model.safetensors" in caught.value.hint


def test_only_whole_checkpoints_of_two_towers_are_loaded(clip: Path, tmp_path: Path) -> None:
    def copy(name: str, *without: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file in clip.iterdir():
            if file.is_file() and file.name not in without:
                (folder / file.name).write_bytes(file.read_bytes())
        return folder

    with pytest.raises(HarnessError, match="is no SigLIP"):
        load(SiglipScore, clip)
    wordless = copy("wordless", "tokenizer.json", "vocab.json", "merges.txt")
    with pytest.raises(HarnessError, match="no tokenizer"):
        load(ClipScore, wordless)
    pickled = copy("pickled", "model.safetensors")
    (pickled / "pytest_model.bin").write_bytes(b"")
    with pytest.raises(HarnessError, match="only pickled weights"):
        load(ClipScore, pickled)
    missing = copy("lacking")
    weights = load_file(missing / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, missing / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(HarnessError, match=r"missing text_projection\.weight"):
        load(ClipScore, missing)
    other = copy("other")
    (other / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(HarnessError, match="model_type 'bert', expected 'clip' or 'siglip'"):
        load(ClipScore, other)


def test_an_image_or_a_setting_that_would_take_all_memory_is_refused(
    clip: Path, tmp_path: Path
) -> None:
    metric = load(ClipScore, clip)
    thin = np.zeros((1, 201, 3), np.uint8)
    with pytest.raises(BadAnswer, match="201 × 1 pixels is longer than 200 times"):
        metric.measure([*looks(), Look(Prompt("thin", "x"), thin)])
    assert metric.measure([Look(Prompt("thin", "x"), thin[:, :200])])[0][0] >= 0
    folder = tmp_path / "large"
    shutil.copytree(clip, folder)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings["size"] = {"shortest_edge": 1_000_000}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(HarnessError, match="make images of"):
        load(ClipScore, folder)


def test_confidence_is_the_least_that_the_rules_rest_on() -> None:
    labels, scores = ("cat", "dog", "cat"), np.array([0.9, 0.8, 0.5], np.float32)
    seen = Detections(labels, scores, np.zeros((3, 4), np.float32), np.zeros((3, 1, 1), np.bool_))

    def of(include: dict[str, int], **exclude: int) -> float:
        expected = {
            "include": [{"class": name, "count": count} for name, count in include.items()],
            "exclude": [{"class": name, "count": count} for name, count in exclude.items()],
        }
        return confidence(expected, seen)

    assert of({"cat": 1}) == pytest.approx(0.9)
    assert of({"cat": 1, "dog": 1}) == pytest.approx(0.8)
    assert of({"cat": 2}) == pytest.approx(0.5)
    assert of({"cat": 3}) == of({"bench": 1}) == 0.0
    assert of({"cat": 1}, cat=2) == pytest.approx(0.5)
    assert of({"cat": 1}, cat=3) == pytest.approx(0.9)


def test_a_judge_accepts_from_a_threshold_on_or_nothing(clip: Path) -> None:
    loading = Loading({"model": clip, "processor": clip}, batch_size=3)
    plain = [value for value, _ in PickScore.load(loading).measure(looks())]
    threshold = sorted(plain)[2]
    for accept in (threshold, None):
        settings: dict[str, Setting] = {"name": "pick-score"}
        if accept is not None:
            settings["accept"] = accept
        judge = MetricJudge.load(
            Loading(loading.checkpoints, batch_size=3, settings=settings), GenEval()
        )
        rows = [(look.prompt, look.image, 0) for look in looks()]
        verdicts = [verdict for verdict, _ in judge.judge(*map(list, zip(*rows, strict=True)))]  # type: ignore[arg-type]
        limit = math.inf if accept is None else accept
        assert verdicts == [Verdict(value >= limit, value) for value in plain]


@pytest.mark.parametrize(
    ("name", "parts", "settings", "message"),
    [
        ("clip-scroe", ["model"], {}, "unknown metric 'clip-scroe'"),
        ("clip-score", ["model"], {"wieght": 2.0}, "no option 'wieght'"),
        ("clip-score", ["model"], {"weight": -1.0}, "cannot take"),
        ("clip-score", ["model", "head"], {}, "no part 'head'"),
        ("aesthetic", ["model"], {}, "needs a checkpoint for its head"),
        ("pick-score", ["model"], {}, "needs a checkpoint for its processor"),
    ],
)
def test_what_a_metric_cannot_be_loaded_with_is_refused_before(
    name: str, parts: list[str], settings: dict[str, Setting], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check(name, dict.fromkeys(parts), settings, GenEval())


def test_a_metric_of_objects_refuses_prompts_that_name_none(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a cat\n")
    own = PromptFile(path=str(tmp_path / "prompts.txt"))
    with pytest.raises(UsageError, match="cannot tell what the prompts of prompt-file ask for"):
        check("object-confidence", {"detector": ""}, {}, own)


@pytest.mark.parametrize("name", METRICS.names())
def test_every_metric_says_its_formula_and_where_it_is_from(name: str) -> None:
    text = METRICS.get(name).__doc__ or ""
    assert "arXiv" in text or "a metric of this project" in text
