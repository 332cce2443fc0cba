"""A tiny random Qwen2.5-VL: its answers mean nothing, but each must be its row's own."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from benchmarks.geneval.benchmark import GenEval
from harness.errors import BadAnswer, Failure, HarnessError, UsageError
from harness.models.base import Judge
from harness.models.judges.vlm import VLMJudge, feedback
from harness.models.judges.vlm_settings import QUESTION, Sampling
from harness.models.judges.vlm_transformers import LENGTH_STEP, Sampler, TransformersWriter
from harness.models.vlm_loading import chat_inputs
from harness.records import Cost, Image, Inquiry, Loading, Prompt, Verdict
from harness.registry import JUDGES
from harness.testing.looks import JudgeContract
from tests.models.tiny_vlm import TEMPLATE, WORDS, make_llava, make_qwen

Pairs = list[tuple[Prompt, Image]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    make_qwen(folder)
    return folder


def load(folder: Path, device: str = "cpu", dtype: str = "auto", **settings: Any) -> VLMJudge:
    chosen = {"max_new_tokens": 12, **settings}
    return VLMJudge.load(Loading({"model": folder}, device, dtype, 4, chosen), GenEval())


@pytest.fixture(scope="module")
def judge(folder: Path) -> VLMJudge:
    return load(folder)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """The third prompt is too long for the others' shape, the fourth's image is larger."""
    texts = ["a photo of a bench", "a photo of a cow", "a bench " * LENGTH_STEP, "a bench"]
    random = np.random.default_rng(0)
    sides = [32, 32, 32, 40]
    images = [random.integers(0, 256, (side, side, 3), np.uint8) for side in sides]
    return [(Prompt(str(i), text), images[i]) for i, text in enumerate(texts)]


def inputs_of(judge: VLMJudge, text: str, image: Image) -> Any:
    question = judge.settings.question.replace("{prompt}", text)
    return chat_inputs(writer(judge).processor, question, [image])


def writer(judge: VLMJudge) -> TransformersWriter:
    assert isinstance(judge.writer, TransformersWriter)
    return judge.writer


def ask(judge: VLMJudge, pairs: Pairs, seeds: list[int]) -> list[tuple[Verdict, Cost]]:
    return judge.judge([prompt for prompt, _ in pairs], [image for _, image in pairs], seeds)


class TestTinyQwen(JudgeContract):
    @pytest.fixture(scope="class")
    @classmethod
    def judge(cls, judge: VLMJudge) -> Judge:
        return judge

    @pytest.fixture(scope="class")
    @classmethod
    def pairs(cls, pairs: Pairs) -> Pairs:
        return pairs

    def test_every_row_has_something_to_say_and_a_score_of_its_own(
        self, answers: list[tuple[Verdict, Cost]]
    ) -> None:
        assert any(verdict.sentence for verdict, _ in answers)
        assert len({verdict.score for verdict, _ in answers}) == len(answers)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
class TestTinyQwenOnAGpu(TestTinyQwen):
    @pytest.fixture(scope="class")
    @classmethod
    def judge(cls, folder: Path) -> Judge:
        return load(folder, device="cuda")


def test_it_draws_in_half_precision_too(folder: Path, pairs: Pairs) -> None:
    judge = load(folder, dtype="bfloat16")
    assert writer(judge).model.dtype == torch.bfloat16
    seeds = [1, 2, 3, 4]
    together = [verdict for verdict, _ in ask(judge, pairs, seeds)]
    for number, verdict in enumerate(together):
        assert ask(judge, [pairs[number]], [seeds[number]])[0][0] == verdict


def test_it_is_what_the_registry_names() -> None:
    assert JUDGES.get("vlm") is VLMJudge and not VLMJudge.oracle


def test_what_it_is_asked() -> None:
    assert QUESTION.replace("{prompt}", "a cow") == (
        "Please evaluate this generated image based on the following prompt: a cow. "
        "Focus on text alignment and compositionality."
    )


def test_an_answer_hangs_on_its_seed_and_not_on_the_batchs(judge: VLMJudge, pairs: Pairs) -> None:
    def sentence(company: list[int], seed: int) -> str:
        rows = [pairs[0], *(pairs[i] for i in company)]
        return ask(judge, rows, [seed, *range(len(company))])[0][0].sentence

    answers = [sentence([], seed) for seed in range(6)]
    assert len(set(answers)) > 3
    assert [sentence([1, 0, 1], seed) for seed in range(6)] == answers


def test_cold_it_says_what_the_stock_model_says(folder: Path, pairs: Pairs) -> None:
    judge = load(folder, temperature=0)
    prompt, image = pairs[0]
    inputs = inputs_of(judge, prompt.text, image)
    stock = AutoModelForImageTextToText.from_pretrained(folder).eval()
    written = stock.generate(**inputs, max_new_tokens=12)[0, inputs["input_ids"].shape[1] :]
    expected = writer(judge)._decode([token for token in written.tolist() if token not in (0, 3)])
    output: list[str] = []
    own = writer(judge)
    own._decode = lambda tokens: (
        output.append(TransformersWriter._decode(own, tokens)) or output[-1]
    )  # type: ignore[func-returns-value, assignment, method-assign]
    ask(judge, pairs[:1], [1])
    assert output == [expected] and expected


def test_the_score_is_the_chance_of_the_verdict(folder: Path, pairs: Pairs) -> None:
    judge = load(folder, stem="The image is", verdict=" correct .")
    stock = AutoModelForImageTextToText.from_pretrained(folder).eval()
    for (prompt, image), (verdict, _) in zip(pairs, ask(judge, pairs, [1, 2, 3, 4]), strict=True):
        inputs = inputs_of(judge, prompt.text, image)
        own = inputs["input_ids"].shape[1]
        words = torch.tensor(
            [[WORDS.index(word) for word in ["The", "image", "is", "correct", "."]]]
        )
        inputs["input_ids"] = torch.cat([inputs["input_ids"], words], 1)
        inputs["attention_mask"] = torch.ones(1, own + 5, dtype=torch.long)
        kinds = inputs["mm_token_type_ids"]
        inputs["mm_token_type_ids"] = torch.cat([kinds, torch.zeros_like(words)], 1)
        with torch.no_grad():
            chances = stock(**inputs).logits[0, own + 2 : own + 4].softmax(-1)
        expected = chances[0, words[0, 3]] * chances[1, words[0, 4]]
        assert verdict.score == pytest.approx((verdict.accepted + float(expected)) / 2, rel=1e-4)


def test_how_an_answer_is_read(judge: VLMJudge) -> None:
    assert judge._read("The image is correct.", 0.25) == Verdict(True, 0.625, "")
    wrong = "The image is not correct. There is no cow"
    assert judge._read(wrong, 0.25) == Verdict(False, 0.125, "There is no cow")
    assert judge._read("is correct", 0.0).score > judge._read("", 1.0).score
    assert judge._read("", 1.0) == Verdict(False, (1 - 2**-20) / 2, "")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("It is not right. There is no knife in image", "There is no knife in image"),
        ("It is not right. There is no knife in image.", "There is no knife in image"),
        ("It is not right. There is no knife. . \n", "There is no knife"),
        ("no knife", "no knife"),
        (" ... ", ""),
        ("", ""),
    ],
)
def test_feedback_is_the_last_sentence(answer: str, expected: str) -> None:
    assert feedback(answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("It is not right. There is no knife in image", "There is no knife in image"),
        ("It is not right. There is no knife in image.", ""),
        ("It is not right. There is no knife. \n", ""),
        ("no knife", "no knife"),
    ],
)
def test_the_published_feedback_is_what_follows_the_last_full_stop(
    folder: Path, answer: str, expected: str
) -> None:
    assert feedback(answer, "published") == expected
    judge = load(folder, feedback="published")
    assert judge._read(answer, 0.0).sentence == expected


def test_what_is_read_and_written_is_counted(folder: Path, pairs: Pairs) -> None:
    judge, quick = load(folder), load(folder, ranked=False)
    rows = ask(judge, pairs, [1, 2, 3, 4])
    for (prompt, image), seed, row in zip(pairs, [1, 2, 3, 4], rows, strict=True):
        own = inputs_of(judge, prompt.text, image)["input_ids"].shape[1]
        verdict, cost = quick.judge([prompt], [image], [seed])[0]
        wrote = cost.tokens - own
        assert 1 <= wrote <= 12
        assert row[1].tokens == 2 * own + 4 + wrote  # "The image is correct"
        assert row[1].flops > 1.5 * cost.flops > 0
        assert (verdict.accepted, verdict.sentence) == (row[0].accepted, row[0].sentence)
        assert verdict.score == verdict.accepted / 2
    patches = [writer(judge)._patches(inputs_of(judge, "a cow", image)) for _, image in pairs]
    assert patches == [64, 64, 64, 100]


@pytest.mark.parametrize("tied", [False, True])
def test_every_weight_is_counted_once(tied: bool, tmp_path: Path) -> None:
    make_qwen(tmp_path, tied=tied)
    judge = load(tmp_path)
    seeing, language, head = writer(judge)._weights
    parts = writer(judge).model.model
    assert seeing == sum(weight.numel() for weight in parts.visual.parameters())
    assert head == len(WORDS) * 32
    assert language + head == sum(w.numel() for w in parts.language_model.parameters())


def test_by_default_it_draws_as_the_checkpoint_says(
    folder: Path, pairs: Pairs, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "generation_config.json"
    stored = json.loads(path.read_text())
    stored |= {"do_sample": True, "temperature": 1e-6, "top_k": 3, "eos_token_id": [3, 1]}
    path.write_text(json.dumps(stored))
    judge = load(tmp_path, top_p=0.9)
    assert writer(judge)._sampling == Sampling(temperature=1e-6, top_p=0.9, top_k=3)
    assert writer(judge)._ends == [3, 1]
    assert len({ask(judge, pairs[:1], [seed])[0][0].sentence for seed in range(4)}) == 1
    assert writer(load(folder))._sampling == Sampling(1.0, 1.0, 50)


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    chances = torch.tensor([0.5, 0.3, 0.15, 0.05])
    logits = chances.log().repeat(4000, 1)

    def shares(sampling: Sampling) -> list[float]:
        drawn = Sampler(sampling, range(4000))(torch.zeros(4000, 1, dtype=torch.long), logits)
        assert ((drawn == 0).sum(-1) == 1).all() and drawn.isneginf().sum() == 4000 * 3
        result: list[float] = (drawn == 0).float().mean(0).tolist()
        return result

    assert shares(Sampling()) == pytest.approx(chances.tolist(), abs=0.03)
    assert shares(Sampling(top_k=2)) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert shares(Sampling(top_p=0.9)) == pytest.approx([0.526, 0.316, 0.158, 0], abs=0.03)
    squared = (chances**2 / (chances**2).sum()).tolist()
    assert shares(Sampling(temperature=0.5)) == pytest.approx(squared, abs=0.03)
    assert shares(Sampling(temperature=0)) == [1, 0, 0, 0]


def test_the_terminal_stays_quiet(
    folder: Path, pairs: Pairs, capfd: pytest.CaptureFixture[str]
) -> None:
    ask(load(folder, temperature=0.5, top_p=0.9), pairs, [1, 2, 3, 4])
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_nan_stops_the_batch(folder: Path, pairs: Pairs) -> None:
    for ranked in (False, True):
        judge = load(folder, ranked=ranked)
        with torch.no_grad():
            writer(judge).model.lm_head.weight.fill_(math.nan)
        with pytest.raises(BadAnswer, match="NaN") as caught:
            ask(judge, pairs[:1], [1])
        assert caught.value.failure is Failure.BAD_NUMBER and "dtype" in caught.value.hint


def test_too_many_images_are_refused(judge: VLMJudge, pairs: Pairs) -> None:
    with pytest.raises(HarnessError, match="batch size"):
        ask(judge, [*pairs, pairs[0]], [1] * 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temprature": 1}, "temprature"),
        ({"temperature": -1}, "greater than or equal to 0"),
        ({"top_p": 0}, "greater than 0"),
        ({"question": "Is it good?"}, "does not mention {prompt}"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_loaded(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load(Path("/nowhere"), **settings)


def test_a_verdict_without_a_token_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="has no token"):
        load(folder, verdict="  ")


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a checkpoint named 'model'"):
        VLMJudge.load(Loading(), GenEval())
    with pytest.raises(HarnessError, match="does not exist"):
        load(Path("/nowhere"))
    with pytest.raises(HarnessError, match="cannot load the processor"):
        VLMJudge.load(Loading({"model": folder, "processor": tmp_path}), GenEval())
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(HarnessError, match="cannot load the"):
        load(tmp_path)


def test_the_older_layout_of_published_checkpoints_loads_too(
    folder: Path, pairs: Pairs, tmp_path: Path
) -> None:
    # As transformers 4.49 wrote Qwen2.5-VL, when Reflect-DiT's judge was published.
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    names = load_file(folder / "model.safetensors").keys()
    assert {"visual.patch_embed.proj.weight", "model.embed_tokens.weight"} <= names
    config = json.loads((folder / "config.json").read_text())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    flat = {**text, **config, "rope_theta": rope["rope_theta"]}
    flat["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    (tmp_path / "config.json").write_text(json.dumps(flat))
    processing = json.loads((folder / "preprocessor_config.json").read_text())
    size = processing.pop("size")
    processing |= {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processing))
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    assert ask(load(tmp_path), pairs, [1, 2, 3, 4]) == ask(load(folder), pairs, [1, 2, 3, 4])


def test_a_published_image_processor_sees_as_many_patches(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    published = {
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": "Qwen2_5_VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(published))
    inputs = inputs_of(load(tmp_path), "a cow", np.zeros((1024, 1024, 3), np.uint8))
    # 1024 pixels are rounded to 37 times 28, and 2 x 2 patches make a token.
    assert inputs["image_grid_thw"].tolist() == [[1, 74, 74]]
    assert (inputs["input_ids"] == 6).sum() == 37 * 37


def test_another_family_may_take_its_place(pairs: Pairs, tmp_path: Path) -> None:
    make_llava(tmp_path)
    judge = load(tmp_path)
    answers = ask(judge, pairs, [1, 2, 3, 4])
    assert [verdict for verdict, _ in answers][::-1] == [
        verdict for verdict, _ in ask(judge, pairs[::-1], [4, 3, 2, 1])
    ]
    assert all(cost.tokens > 0 and cost.flops > 0 for _, cost in answers)


def test_images_may_be_of_any_size(judge: VLMJudge) -> None:
    for side in (8, 20, 200):
        image = np.asarray(Pillow.new("RGB", (side, 2 * side), (side, 0, 9)))
        assert len(judge.judge([Prompt("0", "a cow")], [image], [1])) == 1


def test_it_replies_to_each_question_by_itself(judge: VLMJudge, pairs: Pairs) -> None:
    prompt, image = pairs[0]
    shown: list[tuple[Image, ...]] = [(image,), (), (image, pairs[1][1])]
    inquiries = [
        Inquiry(prompt, f"How else to say '{prompt.text}'?", images, 7 + n)
        for n, images in enumerate(shown)
    ]
    together = judge.reply(inquiries)
    assert len(together) == 3 and any(text for text, _ in together)
    for inquiry, (text, cost) in zip(inquiries, together, strict=True):
        assert judge.reply([inquiry]) == [(text, cost)]
        assert cost.tokens > 0 and (cost.flops or 0) > 0
    assert judge.reply([]) == []
