"""The judge on vLLM, against a stand-in with vLLM's interface that computes by transformers."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.geneval.benchmark import GenEval
from benchmarks.geneval2.benchmark import GenEval2
from harness.errors import BadAnswer, HarnessError, UsageError
from harness.models.judges.vlm import VLMJudge
from harness.models.metrics.together import check
from harness.models.vlm_loading import load_vlm
from harness.records import Image, Inquiry, Loading, Prompt
from tests.models.tiny_vlm import make_qwen

IMAGE = 6  # the token that stands for an image


@dataclass
class SamplingParams:
    """The fields that are used, with vLLM's defaults."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop_token_ids: list[int] = field(default_factory=list)
    max_tokens: int | None = 16
    prompt_logprobs: int | None = None


class LLM:
    """Greedy decoding of each request by itself."""

    def __init__(self, model: str, **options: Any) -> None:
        self.folder = Path(model)
        self.options = options
        self.asked: list[tuple[Mapping[str, Any], SamplingParams]] = []
        self.model, self.processor = load_vlm(Loading({"model": self.folder}))

    def generate(
        self,
        prompts: Sequence[Mapping[str, Any]],
        sampling_params: SamplingParams | Sequence[SamplingParams],
        *,
        use_tqdm: bool = True,
    ) -> list[Any]:
        assert not use_tqdm
        if isinstance(sampling_params, SamplingParams):
            sampling_params = [sampling_params] * len(prompts)
        self.asked += zip(prompts, sampling_params, strict=True)
        return [self._answer(*each) for each in zip(prompts, sampling_params, strict=True)]

    def _answer(self, prompt: Mapping[str, Any], sampling: SamplingParams) -> Any:
        inputs: dict[str, Any] = {}
        tokens = list(prompt["prompt_token_ids"])
        if images := prompt.get("multi_modal_data", {}).get("image", []):
            inputs = dict(self.processor.image_processor(images=images, return_tensors="pt"))
            counts = iter((inputs["image_grid_thw"].prod(-1) // 4).tolist())
            assert tokens.count(IMAGE) == len(images)
            tokens = [t for each in tokens for t in [each] * (next(counts) if each == IMAGE else 1)]
        ids = torch.tensor([tokens])
        inputs |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        inputs["mm_token_type_ids"] = (ids == IMAGE).int()
        with torch.no_grad():
            chances = self.model(**inputs).logits[0].log_softmax(-1)
            written = self.model.generate(
                **inputs, do_sample=False, max_new_tokens=sampling.max_tokens,
                eos_token_id=sampling.stop_token_ids or None, pad_token_id=0,
            )[0, len(tokens) :].tolist()  # fmt: skip
        listed = [
            {token: SimpleNamespace(logprob=float(row[token]))}
            for token, row in zip(tokens[1:], chances, strict=False)
        ]
        return SimpleNamespace(
            prompt_token_ids=tokens,
            prompt_logprobs=None if sampling.prompt_logprobs is None else [None, *listed],
            outputs=[SimpleNamespace(token_ids=written)],
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    make_qwen(folder)
    return folder


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("vllm")
    module.__dict__.update(LLM=LLM, SamplingParams=SamplingParams)
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr("harness.models.judges.vlm.find_spec", lambda name: object())
    # It takes GPUs only, and there is none here.
    monkeypatch.setattr("harness.models.judges.vlm_vllm.prepare", torch.device)


def load(folder: Path, processor: Path | None = None, **settings: Any) -> VLMJudge:
    parts = {"model": folder} | ({"processor": processor} if processor else {})
    chosen = {"max_new_tokens": 12, "temperature": 0.0, "backend": "vllm", **settings}
    device = "cuda" if chosen["backend"] == "vllm" else "cpu"
    return VLMJudge.load(Loading(parts, device, "float32", 4, chosen), GenEval())


def rows() -> tuple[list[Prompt], list[Image]]:
    random = np.random.default_rng(0)
    prompts = [Prompt(str(n), text) for n, text in enumerate(("a photo of a bench", "a cow", ""))]
    sizes = ((32, 32), (40, 32), (1, 1))
    return prompts, [random.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


@pytest.mark.parametrize("verdict", [" correct", " correct ."])
def test_it_says_what_it_says_by_transformers(folder: Path, verdict: str) -> None:
    own = load(folder, verdict=verdict).judge(*rows(), [1, 2, 3])
    other = load(folder, verdict=verdict, backend="transformers").judge(*rows(), [1, 2, 3])
    for (one, cost), (two, counted) in zip(own, other, strict=True):
        assert (one.accepted, one.sentence) == (two.accepted, two.sentence) and one.sentence
        assert one.score == pytest.approx(two.score, rel=1e-4)
        assert (cost.tokens, cost.flops) == (counted.tokens, None)


def test_replies_too(folder: Path) -> None:
    prompts, images = rows()
    asked = [Inquiry(prompts[0], f"no {n}", tuple(images[:n]), n) for n in range(3)]
    own, other = load(folder).reply(asked), load(folder, backend="transformers").reply(asked)
    assert [text for text, _ in own] == [text for text, _ in other] and own[0][0]
    assert [cost.tokens for _, cost in own] == [cost.tokens for _, cost in other]
    many = Inquiry(prompts[0], "which?", tuple(images[:1] * 5))
    with pytest.raises(HarnessError, match="5 images, at most 4"):
        load(folder).reply([many])


def test_the_engine_is_asked_as_documented(folder: Path, tmp_path: Path) -> None:
    """From a folder of its own where the processor lies elsewhere, as in the built-in suites."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(folder / name, bare)
    stored = {"temperature": 0.7, "top_k": 5, "repetition_penalty": 1.05, "eos_token_id": [3, 1]}
    (bare / "generation_config.json").write_text(json.dumps(stored))
    judge = load(bare, folder, temperature=None, top_p=0.9, gpu_memory_utilization=0.2)
    judge.judge(*rows(), [1, 2**40 + 5, 3])
    engine: Any = judge.writer.engine  # type: ignore[attr-defined]
    assert (engine.folder / "model.safetensors").resolve() == (bare / "model.safetensors").resolve()
    assert engine.options == {
        "dtype": "float32", "load_format": "safetensors", "trust_remote_code": False,
        "enable_prefix_caching": True, "limit_mm_per_prompt": {"image": 4}, "max_num_seqs": 4,
        "gpu_memory_utilization": 0.2, "seed": 0,
    }  # fmt: skip
    answers, chances = engine.asked[:3], engine.asked[3:]
    assert [sampling for _, sampling in answers] == [
        SamplingParams(0.7, 0.9, 5, 1.05, seed, [3, 1], 12) for seed in (1, 5, 3)
    ]
    assert {each.prompt_logprobs for _, each in chances} == {1}
    for (prompt, _), (led_on, _) in zip(answers, chances, strict=True):
        begun = led_on["prompt_token_ids"][: len(prompt["prompt_token_ids"])]
        assert begun == prompt["prompt_token_ids"]
        assert led_on["multi_modal_data"] is prompt["multi_modal_data"]


@pytest.mark.parametrize("logged", [None, [], [None, {}], [None, {14: math.nan}], [None, {1: 0.0}]])
def test_a_probability_that_is_not_given_is_no_zero(
    folder: Path, monkeypatch: pytest.MonkeyPatch, logged: Any
) -> None:
    judge = load(folder)
    listed = logged and [
        each and {t: SimpleNamespace(logprob=v) for t, v in each.items()} for each in logged
    ]
    answer = SimpleNamespace(
        prompt_token_ids=[1], prompt_logprobs=listed, outputs=[SimpleNamespace(token_ids=[9])]
    )
    monkeypatch.setattr(LLM, "_answer", lambda *_: answer)
    with pytest.raises(BadAnswer, match="gave no probability"):
        judge.judge(*rows(), [1, 2, 3])
    monkeypatch.setattr(LLM, "generate", lambda *_, **__: [])
    with pytest.raises(BadAnswer, match="answered 0 of 3"):
        judge.judge(*rows(), [1, 2, 3])


def test_nothing_takes_its_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="the first GPU that it sees"):
        VLMJudge.load(Loading({"model": folder}, "cpu", settings={"backend": "vllm"}), GenEval())
    with pytest.raises(UsageError, match="the first GPU that it sees"):
        VLMJudge.load(Loading({"model": folder}, "cuda:1", settings={"backend": "vllm"}), GenEval())
    with pytest.raises(UsageError, match="is vLLM's"):
        VLMJudge.check(["model"], {"gpu_memory_utilization": 0.3}, GenEval())
    monkeypatch.setattr(LLM, "__init__", lambda self, **_: 1 / 0)
    with pytest.raises(HarnessError, match="cannot load the vLLM engine"):
        load(folder)
    monkeypatch.setattr("harness.models.judges.vlm.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="vllm, which is not installed") as caught:
        VLMJudge.check(["model"], {"backend": "vllm"}, GenEval())
    assert "[vllm]" in caught.value.hint


def test_where_a_zero_would_spoil_a_mean_it_is_refused() -> None:
    for refuse in (
        lambda: check("vqa-score", {"model": ""}, {"backend": "vllm"}, GenEval()),
        lambda: GenEval2().scorer_settings({"backend": "vllm"}),
    ):
        with pytest.raises(UsageError, match="would spoil a geometric mean"):
            refuse()
